// One answer on the page: its text as it comes, its figures, what ended it.
import { get } from "../../../llamagpu/js/api.js";
import { count, duration, rounded } from "../../../llamagpu/js/format.js";
import { translate } from "../../../llamagpu/js/words.js";
import { render } from "./markdown.js";

const element = (tag, className, text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};

const REASONS = { stop: translate("complete"), length: translate("cut at the most new tokens") };

export class Answer {
  constructor(model) {
    this.text = "";
    this.root = element("article", "answer answer-running");
    this.root.setAttribute("aria-busy", "true");
    this.root.setAttribute("aria-label", translate("Answer of {model}", { model }));
    this.head = element("div", "answer-head");
    this.head.append(element("strong", "", model));
    this.body = element("div", "answer-body");
    this.foot = element("div", "answer-foot");
    this.root.append(this.head, this.body, this.foot);
    this.began = performance.now();
    this.firstAt = null;
    this.numPieces = 0;
    this.isDrawing = false;
  }

  append(piece) {
    this.firstAt ??= performance.now();
    this.numPieces += 1;
    this.text += piece;
    this.draw();
  }

  restart() {
    this.text = "";
    this.firstAt = null;
    this.numPieces = 0;
    this.draw();
  }

  // At most once a frame: a fast model sends more pieces than a screen shows.
  draw() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.body.replaceChildren(render(this.text));
      if (this.root.getAttribute("aria-busy") === "true") this.showSpeed(this.numPieces);
    });
  }

  showSpeed(numTokens, finalWords = []) {
    const facts = [...finalWords];
    if (this.firstAt !== null) {
      facts.push(translate("first token after {time}", { time: duration((this.firstAt - this.began) / 1000) }));
      const seconds = ((this.endedAt ?? performance.now()) - this.firstAt) / 1000;
      if (numTokens > 1 && seconds > 0) facts.push(translate("{rate} tokens/s", { rate: rounded((numTokens - 1) / seconds) }));
    }
    this.foot.replaceChildren(...facts.map((fact) => element("span", "", fact)));
  }

  finish(data) {
    this.end();
    this.text = data.final_text;
    this.draw();
    const { prompt_tokens: prompt, completion_tokens: tokens, cached_tokens: cached } = data.usage;
    let words = translate("{prompt} + {answer} tokens", { prompt: count(prompt), answer: count(tokens) });
    if (cached) words += `, ${translate("{number} from the cache", { number: count(cached) })}`;
    this.showSpeed(tokens, [
      words,
      REASONS[data.finish_reason] ?? data.finish_reason,
    ]);
  }

  // The plugins that changed something stand in the job.
  async showPlugins(jobId) {
    const { job } = await get(`/api/jobs/${jobId}`);
    const names = job.plugins ?? [];
    if (names.length) this.foot.append(element("span", "", translate("plugins: {names}", { names: names.join(", ") })));
  }

  fail(message) {
    this.end();
    const words = element("div", "text-bad");
    words.append(element("i", "bi bi-exclamation-triangle"), ` ${message}`);
    words.setAttribute("role", "alert");
    this.root.append(words);
  }

  stopped() {
    this.end();
    this.showSpeed(this.numPieces, [translate("stopped")]);
  }

  // One that was read from the history.
  restore(text) {
    this.end();
    this.text = text;
    this.draw();
  }

  end() {
    this.endedAt = performance.now();
    this.root.classList.remove("answer-running");
    this.root.setAttribute("aria-busy", "false");
  }
}
