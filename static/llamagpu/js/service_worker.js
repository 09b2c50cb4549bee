// Keeps the offline page and what it is made of; answers with it when a page cannot be fetched. Nothing
// else is kept: every other request goes to the server as it would without this.
const KEPT = "llamagpu-offline-1";
const FILES = [
  "/offline",
  "/static/llamagpu/images/favicon.svg",
  "/static/llamagpu/images/logo.svg",
  "/static/llamagpu/js/theme.js",
  "/static/llamagpu/js/offline.js",
  "/static/vendor/bootstrap/bootstrap.min.css",
  "/static/llamagpu/css/themes.css",
];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" })))));
});
self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys().then((names) => Promise.all(names.filter((name) => name !== KEPT).map((name) => caches.delete(name)))),
  );
});
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.mode === "navigate") {
    event.respondWith(fetch(request).catch(() => caches.match("/offline")));
  } else if (FILES.includes(new URL(request.url).pathname)) {
    event.respondWith(fetch(request).catch(() => caches.match(request)));
  }
});
