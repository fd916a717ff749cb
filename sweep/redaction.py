"""Keeps passwords, tokens and keys out of what is printed, logged and stored."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

MASK = "***"

_WEB = r"(?P<web>\b(?:https?|s3|ray)://)(?P<web_user>[^\s:/?#@\"]*)(?P<web_password>:[^\s/?#\"]*)?@"
"""A name without a password is a token there: `https://TOKEN@host`."""
_OTHER = r"(?P<other>\b(?!(?:https?|s3|ray):)[A-Za-z][\w+.-]{0,40}://[^\s:/?#@\"]*):(?P<other_password>[^\s@\"]*(?:@[^\s@/?#\"]*)*)@"
"""SQLAlchemy lets a password hold slashes and question marks."""
_LOGIN = re.compile(f"{_WEB}|{_OTHER}", re.IGNORECASE)

_QUERY_PAIR = re.compile(
    r"(?<=[?&;#])(?P<key>[^\s?&;=#\"]+)=(?P<value>\{[^\s}]*\}|[^\s&#\"]*[^\s&#\"'),.;])"  # JSON may hold quotes
)
_PAIR = re.compile(
    r"(?<![\w?&;#.-])(?=[\w.-]++[ \t]*=)"
    r"(?P<key>[\w.-]*(?:pwd|token|secret|credential|signature|(?:api|access|account|private)[_-]?key)[\w.-]*"
    r"|[\w.-]*pass(?:word|wd|phrase|code)|(?:[\w.-]*[_.-])?pass|auth(?!or\b)[\w.-]*|pw|sas|sig|jwt)[ \t]*=[ \t]*"
    r"(?P<value>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|(?:\\.|[^\s\"\\])*[^\s\"'),.;])",
    re.IGNORECASE | re.DOTALL,
)
"""A secret outside a URI: of libpq, in quotes where it holds spaces, or of a shell; `key` alone is no secret there."""
_HEADER = re.compile(
    r"(?P<name>(?<![\w-])(?:(?:proxy-)?authorization|x-[\w-]*(?:token|key)|private-token)[\"']?[ \t]*:[ \t]*[\"']?)"
    r"(?:[a-z][\w-]*[ \t]+)?[^\s\"']+",
    re.IGNORECASE,
)
"""Of HTTP, with the word before the secret, such as `Bearer`."""
_SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase|code)?$|pwd|token|secret|credential|signature|(?:api|access|account|private)[_-]?key|^auth|"
    r"^(?:key|pw|sas|sig|jwt)$",
    re.IGNORECASE,
)
"""Names like `sslpassword` and `X-Amz-Signature`, but not `passfile`."""
_NAME_WITHIN = re.compile(r"([\w-]+)[\"']?\s*[=:]")
"""A value may be a list of names and values itself: of ODBC, of PostgreSQL's `options`, or JSON."""


_HOOK = re.compile(r"(\bhttps?://[^\s\"]*?/(?:hooks|services|webhook\w*)/)[^\s\"]+", re.IGNORECASE)
"""A webhook of a chat service, whose path is its secret."""
_PATH = re.compile(r"(\bhttps?://[^\s/?#\"']+[/?#])[^\s\"']+", re.IGNORECASE)
SHORTEST_SECRET = 4
"""Characters; anything shorter occurs in too many words."""


def shown_setting(key: str, value: object) -> str:
    """What may be shown of a setting's value, and passed on to where others read it.

    Whoever knows the path of a webhook may send to it, so of the URLs of `notify_webhook` and `notify_command` only
    scheme and host are shown.
    """
    return without_url_paths(value) if key.startswith("notify_") else without_secrets(value)


def without_url_paths(text: object) -> str:
    """A text without secrets, and with nothing of its web addresses but scheme and host."""
    return _PATH.sub(rf"\1{MASK}", without_secrets(text))


def without_webhook(text: object, *values: str | None) -> str:
    """A text without secrets, and without the paths of URLs in values of `notify_webhook` and `notify_command`."""
    secrets = {url[0].removeprefix(url[1]) for value in values for url in _PATH.finditer(value or "")}
    masked = str(text)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            masked = masked.replace(secret, MASK)
    return without_secrets(masked)


def without_secrets(text: object, *uris: str) -> str:
    """A text in which `***` stands for what is secret in its URIs: passwords, values like `token`, paths of webhooks.

    Args:
        text: a URI, or any text with URIs in it, e.g. an error of a library.
        uris: what the text is about; their secrets are masked wherever else they stand in it.
    """
    masked = _QUERY_PAIR.sub(_without_value, _LOGIN.sub(_without_password, str(text)))
    masked = _HEADER.sub(rf"\g<name>{MASK}", _PAIR.sub(_masked, masked))
    masked = _HOOK.sub(rf"\1{MASK}", masked)
    # The longest first: one may hold another.
    for secret in sorted({secret for uri in uris for secret in _secrets_of(uri)}, key=len, reverse=True):
        masked = masked.replace(secret, MASK)
    return masked


def _without_password(login: re.Match[str]) -> str:
    if login["other"]:
        return f"{login['other']}:{MASK}@"
    shown = f"{login['web_user']}:{MASK}" if login["web_password"] else MASK
    return f"{login['web']}{shown}@"


def _without_value(pair: re.Match[str]) -> str:
    return _masked(pair) if _is_secret(pair) else pair[0]


def _masked(pair: re.Match[str]) -> str:
    return pair[0].removesuffix(pair["value"]) + MASK


def _is_secret(pair: re.Match[str]) -> bool:
    names = [unquote_plus(pair["key"]), *_NAME_WITHIN.findall(unquote_plus(pair["value"]))]
    return any(_SECRET_NAME.search(name) for name in names)


def _secrets_of(uri: str) -> set[str]:
    """As they stand in a URI, and what they mean."""
    found = {pair["value"] for pair in _QUERY_PAIR.finditer(uri) if _is_secret(pair)}
    found |= {pair["value"].strip("'\"") for pair in _PAIR.finditer(uri)}
    if login := _LOGIN.search(uri):
        found.add(login["other_password"] or (login["web_password"] or login["web_user"] or "").removeprefix(":"))
    return {form for secret in found for form in (secret, unquote_plus(secret)) if form}
