"""Tokens: who signs them is checked, what they say is believed no longer than they last, and tricks are none."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import ClaimNames, JwtIssuer
from gateway.domain.principal import Principal
from gateway.proxy.identity import tokens as tokens_module
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE, KEYS_UNAVAILABLE, UNAUTHENTICATED
from gateway.proxy.identity.tokens import MAX_TOKEN_BYTES, TOKEN_TTL_S, Tokens
from gateway.proxy.refusals import CallRefused, Refusal
from tests.proxy.identity.signing import (
    AUDIENCE,
    ISSUER,
    SECRET,
    claims,
    jwk,
    key_set,
    private_key,
    public_pem,
    secret_token,
    token,
)

BY_SECRET = JwtIssuer(ISSUER, (AUDIENCE,), ("HS256",), secret=SECRET.encode())
OTHER = "https://other.example.com"


@pytest.fixture
def issuer(tmp_path: Path) -> JwtIssuer:
    """One whose keys are in a file."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set("rsa-1", "rsa-2", "ec-1", "ed-1"))
    return JwtIssuer(ISSUER, (AUDIENCE,), ("RS256", "ES256", "EdDSA"), jwks_file=path)


def heard(tokens: Tokens, text: bytes) -> Principal | Refusal:
    """Whose token it is, or why it is refused."""
    try:
        return asyncio.run(tokens.find(b"Bearer " + text))
    except CallRefused as refused:
        return refused.refusal


def first_heard(issuer: JwtIssuer, text: bytes) -> Principal | Refusal:
    return heard(Tokens((issuer,)), text)


def changed(issuer: JwtIssuer, /, **change: Any) -> JwtIssuer:
    return dataclasses.replace(issuer, **change)


# ── what is believed ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "algorithm"), [("rsa-1", "RS256"), ("rsa-2", "RS256"), ("ec-1", "ES256"), ("ed-1", "EdDSA")]
)
def test_a_token_that_the_issuer_signed_names_its_account(issuer: JwtIssuer, key: str, algorithm: str) -> None:
    assert first_heard(issuer, token(key, algorithm)) == Principal("ada")


def test_a_token_that_is_signed_with_the_shared_secret_names_its_account() -> None:
    assert first_heard(BY_SECRET, secret_token()) == Principal("ada")


def test_each_issuers_tokens_are_checked_by_its_own_keys(issuer: JwtIssuer) -> None:
    tokens = Tokens((issuer, changed(BY_SECRET, issuer=OTHER)))

    assert heard(tokens, token()) == Principal("ada")
    assert heard(tokens, secret_token(iss=OTHER)) == Principal("ada")
    assert heard(tokens, secret_token(iss=ISSUER)) is UNAUTHENTICATED
    assert heard(tokens, token(iss=OTHER)) is UNAUTHENTICATED


def test_a_token_without_a_key_id_is_checked_by_the_only_key_of_its_algorithm(issuer: JwtIssuer) -> None:
    assert first_heard(issuer, token("ec-1", "ES256", header={"kid": None})) == Principal("ada")


def test_a_token_without_a_key_id_is_refused_where_it_could_mean_several(issuer: JwtIssuer) -> None:
    assert first_heard(issuer, token("rsa-1", header={"kid": None})) is UNAUTHENTICATED


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["another", AUDIENCE]])
def test_a_token_for_several_audiences_is_for_this_one_too(audience: Any) -> None:
    assert first_heard(BY_SECRET, secret_token(aud=audience)) == Principal("ada")


def test_clocks_that_differ_are_forgiven_as_far_as_the_config_says() -> None:
    now = int(time.time())
    ended, early = secret_token(exp=now - 30), secret_token(nbf=now + 30, iat=now + 30)
    lenient = changed(BY_SECRET, leeway_s=60)

    assert [first_heard(BY_SECRET, text) for text in (ended, early)] == [UNAUTHENTICATED] * 2
    assert [first_heard(lenient, text) for text in (ended, early)] == [Principal("ada")] * 2


# ── what is not ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": [2**40]},
        {"nbf": 2**40},
        {"nbf": "later"},
        {"iat": 2**40},
        {"aud": None},
        {"aud": ""},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": [AUDIENCE, 7]},
        {"aud": {AUDIENCE: 1}},
        {"aud": AUDIENCE.upper()},
        {"iss": None},
        {"iss": "https://evil.example.com"},
        {"iss": ISSUER.rstrip("/")},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a b"},
        {"sub": "a\x00b"},
        {"sub": "\ud800"},
        {"sub": "a" * 201},
        {"sub": ["ada"]},
    ],
    ids=str,
)
def test_a_token_that_says_the_wrong_thing_is_refused(change: dict[str, Any]) -> None:
    assert first_heard(BY_SECRET, secret_token(**change)) is UNAUTHENTICATED


@pytest.mark.parametrize("iss", [[ISSUER], {"iss": ISSUER}, 7, True])
def test_an_issuer_that_is_no_text_is_refused(iss: Any) -> None:
    header, payload = (_segment(part) for part in ({"alg": "HS256"}, claims() | {"iss": iss}))
    signature = hmac.digest(SECRET.encode(), header + b"." + payload, hashlib.sha256)

    assert first_heard(BY_SECRET, header + b"." + payload + b"." + _encoded(signature)) is UNAUTHENTICATED


def test_a_token_without_an_audience_is_taken_only_where_the_issuer_names_none() -> None:
    none = changed(BY_SECRET, audience=())

    assert first_heard(none, secret_token(aud=None)) == Principal("ada")
    assert first_heard(none, secret_token()) is UNAUTHENTICATED


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None])
def test_an_unsigned_token_is_refused(issuer: JwtIssuer, algorithm: str | None) -> None:
    unsigned = _segment({"alg": algorithm, "kid": "rsa-1"}) + b"." + _segment(claims()) + b"."

    assert first_heard(issuer, unsigned) is UNAUTHENTICATED
    assert first_heard(BY_SECRET, unsigned) is UNAUTHENTICATED


@pytest.mark.parametrize("allowed", [("RS256",), ("RS256", "HS256")])
def test_a_public_key_is_no_secret(tmp_path: Path, allowed: tuple[str, ...]) -> None:
    """The classic: HS256 with the text of the RSA key, which anyone can read. A config that allows it does not fall."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set("rsa-1"))
    secrets = (public_pem("rsa-1"), path.read_bytes(), json.dumps(jwk("rsa-1")).encode(), b"")
    issuer = JwtIssuer(ISSUER, (AUDIENCE,), allowed, jwks_file=path)

    for secret in secrets:
        head = _segment({"alg": "HS256", "kid": "rsa-1"}) + b"." + _segment(claims())
        forged = head + b"." + _encoded(hmac.digest(secret, head, hashlib.sha256))
        assert first_heard(issuer, forged) is UNAUTHENTICATED


def test_an_algorithm_that_is_not_allowed_is_refused_though_the_signature_is_right(issuer: JwtIssuer) -> None:
    assert first_heard(issuer, token("rsa-1", "RS512")) is UNAUTHENTICATED
    assert first_heard(issuer, token("rsa-1", "PS256")) is UNAUTHENTICATED
    assert first_heard(BY_SECRET, secret_token(algorithm="HS512")) is UNAUTHENTICATED


def test_a_key_verifies_by_its_own_algorithm_alone(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk("rsa-1", alg="RS256")))
    issuer = JwtIssuer(ISSUER, (AUDIENCE,), ("RS256", "RS512"), jwks_file=path)

    assert first_heard(issuer, token("rsa-1", "RS256")) == Principal("ada")
    assert first_heard(issuer, token("rsa-1", "RS512")) is UNAUTHENTICATED


@pytest.mark.parametrize("name", ["rsa-2", "nobody", "../rsa-1", "", "rsa-1\x00"])
def test_a_token_whose_key_is_another_or_unknown_is_refused(issuer: JwtIssuer, name: str) -> None:
    assert first_heard(issuer, token("rsa-1", header={"kid": name})) is UNAUTHENTICATED


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": True}, {"crit": []}])
def test_a_token_that_demands_an_extension_is_refused(issuer: JwtIssuer, header: dict[str, Any]) -> None:
    head = _segment({"alg": "RS256", "kid": "rsa-1"} | header) + b"." + _segment(claims())
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(head, private_key("rsa-1"))

    assert first_heard(issuer, head + b"." + _encoded(signature)) is UNAUTHENTICATED


def test_a_token_brings_no_key_of_its_own(issuer: JwtIssuer) -> None:
    for name in ("rsa-1", None):
        brought = {"kid": name, "jwk": jwk("rsa-evil", kid="rsa-1"), "x5c": ["MIIB"]}
        assert first_heard(issuer, token("rsa-evil", header=brought)) is UNAUTHENTICATED


def test_a_key_that_is_too_short_verifies_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set("rsa-short"))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        text = token("rsa-short")

    assert first_heard(JwtIssuer(ISSUER, (AUDIENCE,), ("RS256",), jwks_file=path), text) is UNAUTHENTICATED


def test_a_changed_letter_anywhere_spoils_a_token(issuer: JwtIssuer) -> None:
    good = token("ec-1", "ES256")
    tokens = Tokens((issuer,))

    for place in range(0, len(good), 3):
        spoilt = good[:place] + (b"A" if good[place : place + 1] != b"A" else b"B") + good[place + 1 :]
        assert heard(tokens, spoilt) is UNAUTHENTICATED
    assert heard(tokens, good) == Principal("ada")


def test_a_token_that_is_too_long_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = MAX_TOKEN_BYTES - len(b"Bearer ")
    text = secret_token(pad="x" * 5800)
    assert fits - 300 < len(text) <= fits
    assert first_heard(BY_SECRET, text) == Principal("ada")
    monkeypatch.setattr(jwt, "decode_complete", lambda *a, **k: pytest.fail("it was looked at"))

    assert first_heard(BY_SECRET, secret_token(pad="x" * 6100)) is UNAUTHENTICATED


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused_and_breaks_nothing(head: bytes, payload: bytes, signature: bytes) -> None:
    for parts in ((head, payload, signature), (_encoded(head), _encoded(payload), _encoded(signature))):
        assert first_heard(BY_SECRET, b".".join(parts)) is UNAUTHENTICATED


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(ISSUER),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_CLAIMS = st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "plan", "scope"]), _JSON)


@given(_CLAIMS)
@settings(max_examples=300, deadline=None)
def test_no_claims_of_a_trusted_issuer_break_anything(said: dict[str, Any]) -> None:
    issuer = changed(BY_SECRET, claims=ClaimNames(tier="plan", scopes="scope", team="plan.a"))
    head = _segment({"alg": "HS256"}) + b"." + _segment(claims() | said)

    outcome = first_heard(issuer, head + b"." + _encoded(hmac.digest(SECRET.encode(), head, hashlib.sha256)))

    assert outcome in (UNAUTHENTICATED, INSUFFICIENT_SCOPE) or isinstance(outcome, Principal)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "zip"]), _JSON))
@settings(max_examples=300, deadline=None)
def test_no_header_lets_an_unsigned_token_in(header: dict[str, Any]) -> None:
    text = _segment({"alg": "HS256"} | header) + b"." + _segment(claims()) + b"." + _encoded(b"x" * 32)

    assert first_heard(BY_SECRET, text) is UNAUTHENTICATED


# ── what it says of its account ──────────────────────────────────────────────────────────────────────────────────────


def said(names: ClaimNames, **change: Any) -> Principal | Refusal:
    return first_heard(changed(BY_SECRET, claims=names), secret_token(**change))


def test_claims_are_read_by_their_names_and_by_dotted_paths() -> None:
    names = ClaimNames("user.id", "https://example.com/plan", "team", "org.slug", "scope")

    found = said(
        names,
        user={"id": 42},
        team="blue",
        org={"slug": "acme"},
        scope="chat embed",
        **{"https://example.com/plan": "pro"},
    )

    assert found == Principal("42", "", "blue", "acme", "pro", frozenset({"chat", "embed"}))


def test_claims_that_the_config_does_not_name_mean_nothing() -> None:
    assert said(ClaimNames(), tier="pro", team="blue", scope="openid", plan="pro") == Principal("ada")


def test_a_token_may_say_nothing_of_what_is_optional() -> None:
    assert said(ClaimNames(tier="plan", team="team", organisation="org.name"), team="", org="acme") == Principal("ada")


@pytest.mark.parametrize("value", [["pro"], {"name": "pro"}, True, 1.5, "a b", "x" * 201])
def test_an_optional_claim_that_is_no_name_is_refused(value: Any) -> None:
    assert said(ClaimNames(tier="plan"), plan=value) is UNAUTHENTICATED


@pytest.mark.parametrize("scope", [["chat", "embed"], "chat embed", " embed  chat "])
def test_scopes_are_a_text_or_a_list(scope: Any) -> None:
    found = said(ClaimNames(scopes="scope"), scope=scope)

    assert isinstance(found, Principal)
    assert found.scopes == {"chat", "embed"}
    assert (found.may("chat"), found.may("delete")) == (True, False)


@pytest.mark.parametrize("scope", [None, "", " ", [], [7], {"chat": True}, 7])
def test_a_token_without_scopes_may_do_nothing_where_they_are_read(scope: Any) -> None:
    """No scopes must not come to mean all."""
    assert said(ClaimNames(scopes="scope"), scope=scope) is INSUFFICIENT_SCOPE


# ── how long it is believed ──────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """Both clocks, moved together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed_s = 0.0
        wall, steady = time.time, time.monotonic
        monkeypatch.setattr(time, "time", lambda: wall() + self.passed_s)
        monkeypatch.setattr(time, "monotonic", lambda: steady() + self.passed_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The tokens that were verified."""
    seen: list[bytes] = []
    verify = Tokens._verify

    async def counted(self: Tokens, text: bytes) -> Any:
        seen.append(text)
        return await verify(self, text)

    monkeypatch.setattr(Tokens, "_verify", counted)
    return seen


def test_a_token_is_verified_once_a_minute(looks: list[bytes], clock: Clock) -> None:
    tokens, text = Tokens((BY_SECRET,)), secret_token()

    for _ in range(10):
        assert heard(tokens, text) == Principal("ada")
    assert len(looks) == 1

    clock.passed_s += TOKEN_TTL_S
    assert heard(tokens, text) == Principal("ada")
    assert len(looks) == 2


def test_a_token_is_not_believed_past_its_end(looks: list[bytes], clock: Clock) -> None:
    lenient = changed(BY_SECRET, leeway_s=30)
    tokens, text = Tokens((lenient,)), secret_token(exp=int(time.time()) + 20)
    assert heard(tokens, text) == Principal("ada")

    clock.passed_s += 20
    heard(tokens, text)
    heard(tokens, text)

    assert len(looks) == 3  # From its end on each call looks, though the leeway lets it in.


def test_tokens_cannot_fill_the_memory_and_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MAX_CACHED_TOKENS", 10)
    tokens = Tokens((BY_SECRET,))

    for number in range(35):
        assert heard(tokens, secret_token(sub=f"user-{number}")) == Principal(f"user-{number}")
        assert len(tokens._known) <= 10
    assert all(len(name) == 32 for name in tokens._known)


def test_a_refused_token_is_not_remembered() -> None:
    tokens = Tokens((BY_SECRET,))

    assert heard(tokens, secret_token("t" * 64)) is UNAUTHENTICATED
    assert tokens._known == {}


# ── keys in a file ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_file_is_read_again_when_it_changes(issuer: JwtIssuer) -> None:
    assert issuer.jwks_file is not None
    tokens = Tokens((issuer,))
    assert heard(tokens, token("rsa-new")) is UNAUTHENTICATED

    issuer.jwks_file.write_bytes(key_set("rsa-new", "rsa-1"))
    assert heard(tokens, token("rsa-new")) == Principal("ada")  # At once: it names a key that was not there.

    issuer.jwks_file.write_bytes(key_set("rsa-new", "ec-1", "ed-1"))
    tokens.refresh_keys()
    assert heard(tokens, token("rsa-1")) is UNAUTHENTICATED


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"keys": {}}', b'{"keys": []}', b"[" * 200_000])
def test_a_key_file_that_cannot_be_read_leaves_the_last_one_in_force(
    issuer: JwtIssuer, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert issuer.jwks_file is not None
    tokens = Tokens((issuer,))
    if content is None:
        issuer.jwks_file.unlink()
    else:
        issuer.jwks_file.write_bytes(content)

    for _ in range(3):
        tokens.refresh_keys()

    assert heard(tokens, token()) == Principal("ada")
    assert len([line for line in caplog.messages if "cannot be read" in line]) == 1


def test_without_any_key_nothing_is_said_of_a_token(tmp_path: Path) -> None:
    missing = JwtIssuer(ISSUER, (AUDIENCE,), ("RS256",), jwks_file=tmp_path / "jwks.json")

    assert first_heard(missing, token()) is KEYS_UNAVAILABLE


def _segment(part: dict[str, Any]) -> bytes:
    return _encoded(json.dumps(part).encode())


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
