"""An engine process without a model: speaks the real protocol, does what the prompt's text says.

`python -m tests.fakes N` serves the socket number N. Prompts: `say a b c` answers word by word,
`die` ends the process, `die once FILE` only the first time, `die count FILE` adds a byte there,
`hang` never answers,
`read` does not even begin to, `show stop messages` says what it was given for these names,
`third` answers the third attempt only, `third FILE` any once FILE has three bytes, `fail` fails.
Inputs are embedded, see `embed`.
A model whose path ends in `broken` does not load, one that ends in `slow` loads without an end.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from inference import wire
from inference.protocol import (
    Cancel,
    Choice,
    Delta,
    Drain,
    Drained,
    Exit,
    Failed,
    Finished,
    FinishReason,
    GetStats,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Started,
    Stats,
    Submit,
    Timings,
    TokenLogprob,
    Usage,
)
from llamagpu.lib.error_codes import ErrorCode

COMMAND = (sys.executable, "-m", "tests.fakes")


class FakeEngine:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.hanging: set[str] = set()

    def send(self, event: object) -> None:
        wire.send(self.channel, event)

    def serve(self) -> None:
        self.send(Hello(os.getpid()))
        while (command := wire.receive(self.channel)) is not None:
            match command:
                case Load():
                    self.load(command)
                case Submit():
                    self.answer(command)
                case Cancel() if command.request_id in self.hanging:
                    self.hanging.discard(command.request_id)
                    spent = Usage(1, 1)  # what `hang` has computed
                    self.send(Failed(command.request_id, ErrorCode.CANCELLED, "cancelled", spent))
                case GetStats():
                    self.send(Stats(len(self.hanging), 0, 4, 0.0, 1, 2, 3, 4, 0.5, 1000))
                case Drain():
                    self.drain()
                case Exit():
                    return

    def drain(self) -> None:
        for request_id in self.hanging:
            self.send(Failed(request_id, ErrorCode.NO_WORKER, "shut down"))
        self.send(Drained(len(self.hanging)))
        self.hanging.clear()

    def load(self, command: Load) -> None:
        self.send(LoadProgress("weights", 0.5))
        if command.model_path.endswith("broken"):
            self.send(LoadFailed(ErrorCode.MODEL_LOAD_FAILED, "model.safetensors is truncated"))
            sys.exit(1)
        if command.model_path.endswith("slow"):
            return
        self.send(Loaded("Fake", "cpu", "cpu", "float32", 100, 4, 10, 1, 4, 0.1))

    def answer(self, command: Submit) -> None:
        if command.prompt.inputs:
            self.embed(command)
            return
        words = _words_of(command)
        self.send(Started(command.request_id, len(words), 0.0))
        match words:
            case ["die", *how]:
                self.die(command, *how)
            case ["third", *path] if command.request_id.endswith(".3") or _has_three(*path):
                self.say(command, ["alive"])
            case ["hang", *_]:
                self.send(Delta(command.request_id, "wait ", 1))
                self.hanging.add(command.request_id)
            case ["third" | "read", *_]:  # the prompt, without an end
                self.hanging.add(command.request_id)
            case ["show", *names]:
                self.say(command, [repr(_given(command, name)) for name in names])
            case ["fail", *_]:
                self.send(Failed(command.request_id, ErrorCode.INFERENCE_FAILED, "as asked"))
            case _:
                self.say(command, words[1:])

    def die(self, command: Submit, how: str = "", path: str = "") -> None:
        if how == "once" and Path(path).exists():
            self.say(command, ["alive"])
            return
        if how == "once":
            self.send(Delta(command.request_id, "lost ", 1))
        if path:
            with Path(path).open("a") as file:
                file.write("x")
        os._exit(9)

    def embed(self, command: Submit) -> None:
        """The vector of a text is the text itself, where bytes of numbers belong (four each)."""
        texts = [prompt.text or "" for prompt in command.prompt.inputs]
        self.send(Started(command.request_id, len(texts), 0.0))
        self.send(
            Finished(
                command.request_id,
                "",
                FinishReason.STOP,
                Usage(len(texts)),
                Timings(0.0, 0.01, 0.02),
                embeddings=tuple(
                    text.encode() + b" " * (-len(text.encode()) % 4) for text in texts
                ),
            )
        )

    def say(self, command: Submit, words: list[str]) -> None:
        """All of the `n` answers say the same, word by word in turn."""
        n = command.params.n
        told = tuple(TokenLogprob(f"{word} ", -0.5) for word in words)
        if command.params.logprobs is None:
            told = ()
        for number, word in enumerate(words):
            for index in range(n):
                own = told[number : number + 1]
                self.send(Delta(command.request_id, f"{word} ", number + 1, own, index))
        text = "".join(f"{word} " for word in words)
        choices = tuple(Choice(index, text, FinishReason.STOP, told or None) for index in range(n))
        self.send(
            Finished(
                command.request_id,
                text,
                FinishReason.STOP,
                Usage(2, len(words) * n),
                Timings(0.0, 0.01, 0.02),
                logprobs=told or None,
                choices=choices if n > 1 else (),
                prompt_logprobs=None if command.params.prompt_logprobs is None else (None,),
            )
        )


def _words_of(command: Submit) -> list[str]:
    messages = command.prompt.messages
    return (messages[-1].content if messages else command.prompt.text or "").split()


def _has_three(path: str = "") -> bool:
    return bool(path) and Path(path).exists() and Path(path).stat().st_size >= 3


def _given(command: Submit, name: str) -> object:
    holder = command.params if hasattr(command.params, name) else command.prompt
    return getattr(holder, name)


if __name__ == "__main__":
    FakeEngine(socket.socket(fileno=int(sys.argv[1]))).serve()
