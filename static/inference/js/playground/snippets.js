// The request of the page as code that runs.
const json = (value, indent) => JSON.stringify(value, null, 2).replaceAll("\n", `\n${" ".repeat(indent)}`);

// In a shell's single quotes nothing but the quote itself means anything.
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

// JSON is Python but for these three words, and in strings they must stay.
const python = (value, indent) =>
  json(value, indent).replace(/("(?:[^"\\]|\\.)*")|\b(true|false|null)\b/g, (all, string, word) =>
    string ?? { true: "True", false: "False", null: "None" }[word],
  );

export const WRITERS = {
  curl: (origin, body) => `curl -N ${origin}/api/stream_infer \\
  -H "Authorization: Bearer $KEY" \\
  -H "Content-Type: application/json" \\
  -d ${quoted(JSON.stringify(body, null, 2))}`,

  python: (origin, body) => `import os

import httpx

answer = httpx.post(
    "${origin}/api/infer",
    headers={"Authorization": f"Bearer {os.environ['KEY']}"},
    json=${python(body, 4)},
    timeout=300,
)
answer.raise_for_status()
print(answer.json()["result"]["generated_text"])`,

  javascript: (origin, body) => `const response = await fetch("${origin}/api/infer", {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.KEY}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${json(body, 2)}),
});
const { result } = await response.json();
console.log(result.generated_text);`,
};
