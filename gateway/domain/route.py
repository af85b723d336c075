"""What may be called, where it goes, and how it is treated there."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.domain.price import ONE, Multiplier

#: How answers report their usage; `gateway.meters` has one meter for each. "path" is a route's own usage_path.
DIALECTS = (
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "openai-images",
    "openai-audio",
    "anthropic-messages",
    "gemini",
    "gemini-interactions",
    "dify",
    "ollama",
    "cohere",
    "vercel-data",
    "auto",
    "path",
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an upstream may keep a call waiting, in seconds."""

    connect_s: float = 5.0
    #: From the request's last byte to the answer's first.
    first_byte_s: float = 120.0
    #: Between two pieces of the answer.
    idle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """A backend that calls go to."""

    name: str
    #: Scheme, host, port and path prefix; "" stands for the demo backend, whose address `up` fills in.
    base_url: str
    #: Sent with each call, names in lower case: credentials, mostly. Never logged.
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    #: Idle connections are closed after this many seconds.
    keepalive_s: float = 4.0
    max_connections: int = 1000
    #: PEM file of the authorities to trust for https, in place of the system's.
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One governed path."""

    #: Exact, or with a trailing "/*" for all that is below.
    path: str
    upstream: str
    operation: str
    dialect: str
    methods: frozenset[str] = frozenset({"POST"})
    #: Dotted path to the usage in a JSON answer; only with dialect "path".
    usage_path: str | None = None
    #: Held for a call that names no output limit of its own, in tokens.
    default_output_tokens: int = 1024
    #: Held for each input whose size the request does not show: an image at an address, a file, an earlier answer.
    default_input_tokens: int = 1600
    #: Held for audio whose length nobody knows yet; 0: its calls have none.
    default_audio_seconds: int = 0
    #: The most units that a stream holds before it begins; it holds more as it goes. None: all that it may cost.
    max_hold: int | None = None
    #: What its calls pay of the price list; fixed prices stand as they are.
    multiplier: Multiplier = ONE
    #: Ask openai-chat streams for their usage when the client did not.
    include_usage: bool = True
    #: "drain" or "stop": what happens to the call when its client leaves.
    on_disconnect: str = "drain"
    drain_s: float = 10.0
    #: What an expired hold charges: "charge_counted", "charge_hold" or "release".
    on_lost: str = "charge_counted"
    #: What an answer costs that succeeded and reported no usage: "estimate" or "charge_hold".
    on_missing_usage: str = "estimate"
    #: "deny", or "allow": a call that is free in its caller's tier is served while Redis cannot be asked.
    on_store_outage: str = "deny"
    #: "cut" or "stream": what happens to a stream at the end of its hold while Redis cannot be asked for more.
    on_renewal_outage: str = "cut"
    #: End streams with a comment that carries the balance.
    stream_balance: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def is_prefix(self) -> bool:
        return self.path.endswith("/*")


class Routes:
    """Finds the route of a path: exact ones first, then the longest prefix."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact: dict[str, list[Route]] = {}
        self._below: list[tuple[str, Route]] = []
        for route in routes:
            if route.is_prefix:
                self._below.append((route.path[:-1], route))
            else:
                self._exact.setdefault(route.path, []).append(route)
        self._below.sort(key=lambda item: -len(item[0]))

    def match(self, method: str, path: str) -> Route | None:
        """The route that governs a call, or None: not ours."""
        for route in self._exact.get(path, ()):
            if method in route.methods:
                return route
        for prefix, route in self._below:
            if path.startswith(prefix) and method in route.methods:
                return route
        return None

    def governs(self, path: str) -> Route | None:
        """A route of this path, whatever the method: for a call that is refused in its dialect."""
        if routes := self._exact.get(path):
            return routes[0]
        return next((route for prefix, route in self._below if path.startswith(prefix)), None)
