// Django admin follows the theme that was chosen in the portal.
const STORED = "llamagpu-theme";

const apply = () => {
  let chosen = "auto";
  try {
    const stored = localStorage.getItem(STORED);
    if (stored === "light" || stored === "dark") chosen = stored;
  } catch {
    // The browser keeps nothing for us: as the system has it.
  }
  document.documentElement.dataset.theme = chosen;
};

window.addEventListener("storage", apply);
apply();
