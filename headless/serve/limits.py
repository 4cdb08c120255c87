"""Bounds of the service on what a request may ask for."""

from dataclasses import dataclass

MB = 10**6


@dataclass(frozen=True)
class Limits:
    """Bounds on requests and clips."""

    body: int = 32 * MB  # bytes of a request
    pixels: int = 64 * MB  # of a picture, by its header
    settings: int = 64_000  # bytes of their JSON
    work: float = 2.0  # frames × pixels × steps, as a multiple of the checkpoint's own
    seconds: float = 600.0  # for a clip
    queue: int = 16  # clips that wait
    clips_of_client: int = 1  # that wait or are under way, for each token
    uploads: int = 32  # requests whose body is read and checked
    upload_seconds: float = 60.0  # for a body


class Refusal(Exception):
    """An answer other than the one that was asked for: a status of HTTP, and a sentence."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None):
        """retry_after: seconds until another try makes sense."""
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after
