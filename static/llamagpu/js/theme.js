// Light, dark, or as the system has it. Loaded before the styles so that nothing flashes.
const system = matchMedia("(prefers-color-scheme: dark)");
const STORED = "llamagpu-theme";

const choice = () => {
  try {
    const stored = localStorage.getItem(STORED);
    return stored === "light" || stored === "dark" ? stored : "auto";
  } catch {
    return "auto"; // the browser keeps nothing for us
  }
};

const apply = () => {
  const chosen = choice();
  const theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
  document.documentElement.setAttribute("data-bs-theme", theme);
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === chosen));
  }
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-theme-choice]");
  if (!button) return;
  try {
    localStorage.setItem(STORED, button.dataset.themeChoice);
  } catch {
    return;
  }
  apply();
});
document.addEventListener("DOMContentLoaded", apply);
window.addEventListener("storage", apply);
system.addEventListener("change", apply);
apply();
