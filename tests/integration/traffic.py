"""Clients that are under way while something happens to the daemon."""

import threading

import openai
from daemon_under_test import MESSAGES, SMALL, DaemonUnderTest


class Stream:
    """A streamed chat in a thread of its own."""

    def __init__(self, daemon: DaemonUnderTest, tokens: int) -> None:
        self.tokens = tokens
        self.received = 0
        self.finished: str | None = None
        self.error: Exception | None = None
        self._key = daemon.key
        self._url = f"{daemon.api_url}/v1"
        self.began = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.began.wait(30)

    def _run(self) -> None:
        try:
            with (
                openai.OpenAI(base_url=self._url, api_key=self._key, max_retries=0, timeout=60) as client,
                client.chat.completions.create(
                    model=SMALL, messages=MESSAGES, max_tokens=self.tokens, stream=True
                ) as stream,
            ):
                for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content:
                        self.received += 1
                        self.began.set()
                    if chunk.choices and chunk.choices[0].finish_reason:
                        self.finished = chunk.choices[0].finish_reason
        except Exception as error:  # noqa: BLE001  told to the test
            self.error = error
        finally:
            self.began.set()

    def is_complete(self) -> bool:
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        return self.received == self.tokens and self.finished == "length"


class Steady:
    """Asks again and again until it is left; `failures` has what went wrong."""

    def __init__(self, daemon: DaemonUnderTest, threads: int = 2) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._done = threading.Event()
        self._key, self._url = daemon.key, f"{daemon.api_url}/v1"
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> "Steady":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with openai.OpenAI(base_url=self._url, api_key=self._key, max_retries=0, timeout=60) as client:
            while not self._done.is_set():
                try:
                    client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=1)
                    self.answers += 1
                except openai.OpenAIError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
