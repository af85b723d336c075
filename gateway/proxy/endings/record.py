"""What a client has of a stream: kept as it passes, and looked at only when the stream must be brought to an end."""

from __future__ import annotations

from gateway.proxy.endings.ending import Cut, Ending
from gateway.proxy.endings.frames import Frames, frames_of

#: So many bytes wait to be looked at, at most: a stream costs no more memory than that.
MAX_PENDING_BYTES = 64 * 1024


class Record:
    """Of one stream."""

    def __init__(self, ending: Ending, content_type: str) -> None:
        self._ending = ending
        self._content_type = content_type
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._frames: Frames | None = None
        #: Whole pieces that the ending has not been told of.
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Notes the next bytes that the client gets."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._tell()

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """The bytes that end the piece of which the client has half, and those after it."""
        if not self._split_pending(data).half():
            return b"", data
        pieces = self.pieces(data)
        end = len(pieces[0]) if pieces else len(data)
        return data[:end], data[end:]

    def pieces(self, data: bytes) -> list[bytes]:
        """These bytes, cut after each piece which they would complete. Those after the last of them are left out."""
        frames = self._split_pending(data)
        pieces = frames.completed_by(data)
        if pieces:
            pieces[0] = pieces[0][len(frames.splitter.rest()) :]
        return pieces

    def end(self, cut: Cut) -> bytes:
        """The bytes that bring the stream to its end."""
        self._tell()
        documents = self._ending.end(cut)
        return self._split_pending(b"").framed(documents, self._ending.names_events)

    def _split_pending(self, following: bytes) -> Frames:
        """Cuts up what is pending. `following` shows what the stream is made of when nothing has passed yet."""
        batch = b"".join(self._pending)
        self._pending.clear()
        if self._frames is None:
            self._frames = frames_of(batch + following, self._content_type)
        if batch:
            self._pieces += self._frames.splitter.feed(batch)
        return self._frames

    def _tell(self) -> None:
        """Tells the ending of all that has passed."""
        frames = self._split_pending(b"")
        for piece in self._pieces:
            if document := frames.document_in(piece):
                self._ending.note(document)
        self._pieces.clear()
        self._pending_bytes = 0
