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
  plugin_loaded: ({ plugin }) => translate("{plugin} is loaded", { plugin }),
  plugin_unloaded: ({ plugin }) => translate("{plugin} is unloaded", { plugin }),
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
