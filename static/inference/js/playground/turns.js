// The turns on the page, and as what a model is sent.
const list = document.getElementById("turns");
const firstWords = document.getElementById("first-words");

let isFollowing = true;
list?.addEventListener("scroll", () => {
  isFollowing = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
});

export function follow() {
  if (isFollowing) list.scrollTop = list.scrollHeight;
}

export function showUser(text) {
  const turn = document.createElement("div");
  turn.className = "turn turn-user";
  const words = document.createElement("div");
  words.className = "turn-text";
  words.textContent = text;
  turn.append(words);
  firstWords.hidden = true;
  list.append(turn);
  isFollowing = true;
  follow();
}

// A row of answers to one turn: one, or two side by side.
export function showAnswers(answers) {
  const turn = document.createElement("div");
  turn.className = `turn answers${answers.length > 1 ? " turn-wide" : ""}`;
  turn.append(...answers.map((answer) => answer.root));
  firstWords.hidden = true;
  list.append(turn);
  follow();
}

export function clear() {
  for (const turn of list.querySelectorAll(".turn")) turn.remove();
  firstWords.hidden = false;
  isFollowing = true;
}

// What `model` is sent of a conversation: of several answers to a turn its own, else the first.
export function messagesFor(model, turns, system) {
  const messages = system ? [{ role: "system", content: system }] : [];
  let index = 0;
  while (index < turns.length) {
    const turn = turns[index];
    if (turn.role !== "assistant") {
      messages.push({ role: turn.role, content: turn.content });
      index += 1;
      continue;
    }
    const answers = [];
    while (turns[index]?.role === "assistant") answers.push(turns[index++]);
    const heard = answers.find((answer) => answer.model === model) ?? answers[0];
    if (heard.content) messages.push({ role: "assistant", content: heard.content });
  }
  return messages;
}
