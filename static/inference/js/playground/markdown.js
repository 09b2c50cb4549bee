// A model's Markdown as HTML that can do no harm: parsed, then every tag and address checked.
import DOMPurify from "../../../vendor/dompurify/purify.es.mjs";
import { Marked } from "../../../vendor/marked/marked.esm.js";

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

// Tags that a model writes are words of its answer, and shown as such.
const asWords = ({ text }) => text.replace(/[&<>"]/g, (sign) => ESCAPES[sign]);

const marked = new Marked({ gfm: true, breaks: true, renderer: { html: asWords } });

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.target = "_blank";
    node.rel = "noopener noreferrer nofollow";
  }
});

const RULES = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["href", "title", "start", "align", "target", "rel"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
};

export const render = (text) => DOMPurify.sanitize(marked.parse(text), RULES);
