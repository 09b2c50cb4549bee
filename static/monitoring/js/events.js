// Events of models, plugins and alerts as sentences, newest first.
import { bytes, timeOfDay } from "../../llamagpu/js/format.js";

const MOST = 100;

const WORDS = {
  model_loading: ({ model, stage }) => `${model} is loading${stage ? `: ${stage}` : ""}`,
  model_ready: ({ model, memory }) => `${model} is ready${memory ? `, ${bytes(memory)}` : ""}`,
  model_failed: ({ model, error }) => `${model} could not be loaded: ${error}`,
  model_unloading: ({ model }) => `${model} is being unloaded`,
  model_unloaded: ({ model }) => `${model} is unloaded`,
  model_evicted: ({ model, made_room_for: other }) => `${model} made room for ${other}`,
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
