// The offline page: loads the page that was asked for as soon as the server is back.
const EVERY = 5000;

async function look() {
  try {
    const response = await fetch("/livez", { cache: "no-store" });
    if (response.ok) location.reload();
  } catch {
    // Still away.
  }
}

document.getElementById("try-again").addEventListener("click", () => location.reload());
setInterval(look, EVERY);
