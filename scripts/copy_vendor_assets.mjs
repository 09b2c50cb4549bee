// Copies the third-party files that pages load from node_modules to static/vendor, and nothing else.
// The folder appears only when it is complete.

import { cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const target = join(root, "static", "vendor");
const draft = `${target}.draft`;

const files = {
  "bootstrap/dist/css/bootstrap.min.css": "bootstrap/bootstrap.min.css",
  "bootstrap/dist/js/bootstrap.bundle.min.js": "bootstrap/bootstrap.bundle.min.js",
  "bootstrap/LICENSE": "bootstrap/LICENSE",
  "bootstrap-icons/font/bootstrap-icons.min.css": "bootstrap-icons/bootstrap-icons.min.css",
  "bootstrap-icons/font/fonts": "bootstrap-icons/fonts",
  "bootstrap-icons/LICENSE": "bootstrap-icons/LICENSE",
  "chart.js/dist/chart.umd.min.js": "chart.js/chart.umd.min.js",
  "chart.js/LICENSE.md": "chart.js/LICENSE.md",
  "dompurify/dist/purify.es.mjs": "dompurify/purify.es.mjs",
  "dompurify/LICENSE": "dompurify/LICENSE",
  "marked/lib/marked.esm.js": "marked/marked.esm.js",
  "marked/LICENSE": "marked/LICENSE",
  "socket.io-client/dist/socket.io.esm.min.js": "socket.io/socket.io.esm.min.js",
  "socket.io-client/LICENSE": "socket.io/LICENSE",
};

// The source maps stay behind, so a reference to one would only lead to a 404.
const sourceMap = /\n?(\/\/# sourceMappingURL=\S+|\/\*# sourceMappingURL=\S+ \*\/)\s*$/;

await rm(draft, { recursive: true, force: true });
for (const [from, to] of Object.entries(files)) {
  const source = join(root, "node_modules", from);
  const copy = join(draft, to);
  await mkdir(dirname(copy), { recursive: true });
  if (/\.(css|m?js)$/.test(to)) {
    await writeFile(copy, (await readFile(source, "utf8")).replace(sourceMap, "\n"));
  } else {
    await cp(source, copy, { recursive: true });
  }
}
await rm(target, { recursive: true, force: true });
await rename(draft, target);
