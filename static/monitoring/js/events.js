// Events of models, plugins and alerts as sentences, newest first.
import { bytes, timeOfDay } from "../../llamagpu/js/format.js";
import { translate } from "../../llamagpu/js/words.js";

const MOST = 100;

const WORDS = {
  model_loading: ({ model, stage }) => `${translate("{model} is loading", { model })}${stage ? `: ${stage}` : ""}`,
  model_ready: ({ model, memory }) => `${translate("{model} is ready", { model })}${memory ? `, ${bytes(memory)}` : ""}`,
  model_failed: ({ model, error }) => translate("{model} could not be loaded: {error}", { model, error }),
  model_unloading: ({ model }) => translate("{model} is being unloaded", { model }),
  model_unloaded: ({ model }) => translate("{model} is unloaded", { model }),
  model_evicted: ({ model, made_room_for: other }) => translate("{model} made room for {other}", { model, other }),
  worker_died: ({ worker, is_back: isBack }) =>
    isBack ? translate("{worker} died and is back", { worker }) : translate("{worker} died", { worker }),
  worker_started: ({ worker, after_death: afterDeath }) =>
    afterDeath ? translate("{worker} is back", { worker }) : translate("{worker} serves", { worker }),
  model_pull_progress: ({ model }) => translate("{model} is being pulled", { model }),
  model_pulled: ({ model }) => translate("{model} is pulled", { model }),
  model_pull_failed: ({ model, error }) => translate("{model} could not be pulled: {error}", { model, error }),
  plugin_discovered: ({ plugin }) => translate("{plugin} was found", { plugin }),
  plugin_rejected: ({ plugin }) => translate("{plugin} was rejected", { plugin }),
  plugin_approved: ({ plugin }) => translate("{plugin} is approved", { plugin }),
  plugin_enabled: ({ plugin }) => translate("{plugin} shall run", { plugin }),
  plugin_disabled: ({ plugin }) => translate("{plugin} shall not run", { plugin }),
  plugin_reloaded: ({ plugin }) => translate("{plugin} is loaded anew", { plugin }),
  plugin_configured: ({ plugin }) => translate("{plugin} has new settings", { plugin }),
  plugin_rolled_back: ({ plugin }) => translate("{plugin} has its old settings again", { plugin }),
  plugin_files_changed: ({ plugin }) => translate("{plugin} has other files and waits for approval", { plugin }),
  plugin_vanished: ({ plugin }) => translate("{plugin} has gone from its folder", { plugin }),
  plugin_uploaded: ({ plugin }) => translate("{plugin} was uploaded", { plugin }),
  plugin_removed: ({ plugin }) => translate("{plugin} was removed", { plugin }),
  plugin_died: ({ plugin }) => translate("{plugin} has died", { plugin }),
  plugin_restarted: ({ plugin }) => translate("{plugin} was started again", { plugin }),
  plugin_loaded: ({ plugin }) => translate("{plugin} is loaded", { plugin }),
  plugin_unloaded: ({ plugin }) => translate("{plugin} is unloaded", { plugin }),
  plugin_failed: ({ plugin, message }) => `${translate("{plugin} has failed", { plugin })}${message ? `: ${message}` : ""}`,
  plugin_fault: ({ plugin }) => translate("{plugin} has failed", { plugin }),
  alert_firing: ({ rule, summary }) => `${translate("{rule} fires", { rule })}${summary ? `: ${summary}` : ""}`,
  alert_resolved: ({ rule }) => translate("{rule} is over", { rule }),
  alert_acknowledged: ({ rule }) => translate("{rule}: somebody sees to it", { rule }),
};

const plain = (type) => type.replaceAll("_", " ");

// What is not known here is told by its own words.
export function sentence({ event_type: type, data }) {
  if (type in WORDS) return WORDS[type](data);
  const subject = data.model ?? data.plugin ?? data.rule ?? data.name ?? "";
  const more = data.error ?? data.reason ?? data.message ?? data.summary ?? "";
  return `${[subject, plain(type)].filter(Boolean).join(": ")}${more ? ` (${more})` : ""}`;
}

// A model that loads tells it many times: only the last one stays.
const isSame = (a, b) => a.event_type === b.event_type && a.data.model !== undefined && a.data.model === b.data.model;

export class EventList {
  constructor(list, nothing) {
    this.list = list;
    this.nothing = nothing;
    this.newest = null;
  }

  add(event) {
    this.nothing.hidden = true;
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.dateTime = event.timestamp;
    time.textContent = timeOfDay(event.timestamp);
    time.dataset.style = "clock";
    const words = document.createElement("span");
    words.textContent = sentence(event);
    item.append(time, words);
    if (this.newest && isSame(this.newest.event, event)) this.newest.item.replaceWith(item);
    else this.list.prepend(item);
    this.newest = { event, item };
    while (this.list.children.length > MOST) this.list.lastElementChild.remove();
  }
}
