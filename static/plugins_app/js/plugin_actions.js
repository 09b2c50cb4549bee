// What may be done to a plugin, by the API. Each asks before it does what cannot be taken back.
import { patch, post, put, remove } from "../../llamagpu/js/api.js";
import { confirm } from "../../llamagpu/js/dialog.js";
import { translate } from "../../llamagpu/js/words.js";

export const address = (plugin, verb = "") => `/api/plugins/${encodeURIComponent(plugin)}${verb && `/${verb}`}`;

async function approve(plugin, sha256) {
  const said = await confirm({
    title: translate("Approve “{name}”?", { name: plugin }),
    text: translate(
      "Its files as they are now (SHA-256 {sha256}) may run once somebody loads it. If they change, it waits again.",
      { sha256 },
    ),
    action: translate("Approve"),
    isDestructive: false,
  });
  if (said) await post(address(plugin, "approve"), { sha256 });
  return said;
}

async function destroy(plugin) {
  const said = await confirm({
    title: translate("Delete “{name}”?", { name: plugin }),
    text: translate("Its files are removed."),
    action: translate("Delete"),
  });
  if (said) await remove(address(plugin));
  return said;
}

export const ACTIONS = {
  load: (plugin) => post(address(plugin, "load")),
  unload: (plugin) => post(address(plugin, "unload")),
  reload: (plugin) => post(address(plugin, "reload")),
  approve,
  delete: destroy,
};

export const setRules = (plugin, rules) => patch(address(plugin), rules);
export const setConfig = (plugin, config) => put(address(plugin, "config"), { config });
export const rollBack = (plugin, number) => post(address(plugin, "config/rollback"), { number });
export const tryOut = (plugin, sample) => post(address(plugin, "try"), sample);
export const setOrder = (plugins) => put("/api/plugins/order", { plugins });
export const scan = () => post("/api/plugins/scan");
export const upload = (form) => post("/api/plugins/upload", form);
