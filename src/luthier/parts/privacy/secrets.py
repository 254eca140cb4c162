"""Access keys, private keys and passwords.

One decision: forms that an issuer documents are found by the patterns of detect-secrets and by ours beside them;
what merely looks random is not (its entropy detectors are off), and a password needs the words that announce it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from luthier.core.errors import MachineError
from luthier.parts.privacy.rule import Rule, Span, by_pattern

_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----", re.ASCII)
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{1,40}-----", re.ASCII)
_PEM_LINE = re.compile(r"(?:\s|\\[nr]){1,4}[A-Za-z0-9+/=]{20,2000}(?![\w+/=])", re.ASCII)
_MAX_PEM = 20_000
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA|AIDA|AROA)[0-9A-Z]{16}(?![0-9A-Za-z])|gh[pousr]_[A-Za-z0-9]{36}\b|github_pat_\w{22,255}\b"
    r"|sk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,200}(?![\w-])|xox[abeoprs]-[A-Za-z0-9-]{10,200}|AIza[0-9A-Za-z_-]{35}(?![\w-])|hf_[A-Za-z0-9]{30,50}\b"
    r"|glpat-[\w-]{20}\b|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,2000}\.[\w-]{10,2000}|npm_[A-Za-z0-9]{36}\b|pypi-AgE[\w-]{50,1000}"
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,100}\b|SG\.[\w-]{16,32}\.[\w-]{16,64}|ya29\.[\w-]{20,400}|dop_v1_[a-f0-9]{64}\b|shpat_[a-fA-F0-9]{32}\b"
    r"|key-[a-f0-9]{32}\b|AC[a-f0-9]{32}\b|SK[a-f0-9]{32}\b|https://hooks\.slack\.com/services/[A-Z0-9]{8,12}/[A-Z0-9]{8,12}/[A-Za-z0-9]{20,30})",
    re.ASCII,
)
_BEARER = re.compile(r"(?<=[Bb]earer )[A-Za-z0-9_.~+/-]{24,2000}={0,2}(?![\w])", re.ASCII)
_MARKS = ("-", "_", "akia", "asia", "aida", "aroa", "aiza", "eyj", "sg.", "ya29.", "ac", "sk", "://")
_PASSWORD = re.compile(
    r"(?:password|passwd|pwd|passphrase|passwort|contrase[ñn]a|mot de passe|secret(?:[_ -]?key)?|api[_ -]?key"
    r"|access[_ -]?token|auth[_ -]?token|client[_ -]?secret)"
    r"[\"']?(?: {0,2}(?:=>|:=|[:=]) {0,3}| is:? | ist:? | est:? | es:? )[\"'`“]?([^\s\"'`”“<>{}()\[\],;]{6,128})",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(
    r"^(?:\$|%|os\.|env|process\.|config|settings|self\.|get|none|null|true|false|x{4,}|\*+$|\.{3}|your|change|example|https?:)", re.I
)
_PLUGINS = (
    "artifactory.ArtifactoryDetector",
    "aws.AWSKeyDetector",
    "azure_storage_key.AzureStorageKeyDetector",
    "cloudant.CloudantDetector",
    "discord.DiscordBotTokenDetector",
    "github_token.GitHubTokenDetector",
    "gitlab_token.GitLabTokenDetector",
    "ibm_cloud_iam.IbmCloudIamDetector",
    "mailchimp.MailchimpDetector",
    "npm.NpmDetector",
    "openai.OpenAIDetector",
    "pypi_token.PypiTokenDetector",
    "sendgrid.SendGridDetector",
    "slack.SlackDetector",
    "square_oauth.SquareOAuthDetector",
    "stripe.StripeDetector",
    "telegram_token.TelegramBotTokenDetector",
    "twilio.TwilioKeyDetector",
)
_TOKEN = re.compile(r"[^\s\"'`]{20,400}", re.ASCII)
_MIXED = re.compile(r"[0-9][^0-9A-Za-z]{0,20}[A-Za-z]|[A-Za-z][^0-9A-Za-z]{0,20}[0-9]", re.ASCII)
_LINE = 600


def private_keys(text: str) -> Iterator[Span]:
    """PEM and PGP private keys: through the END line, or as many lines of key as follow the BEGIN line."""
    at = 0
    while begin := _PEM.search(text, at):
        at = begin.end()
        end = _PEM_END.search(text, at, at + _MAX_PEM)
        if end and _PEM.search(text, at, end.start()) is None:
            at = end.end()
        else:
            while line := _PEM_LINE.match(text, at):
                at = line.end()
        yield begin.start(), at


@cache
def _plugins() -> tuple[Any, ...]:
    from importlib import import_module

    try:
        found = [(import_module(f"detect_secrets.plugins.{name.split('.')[0]}"), name.split(".")[1]) for name in _PLUGINS]
    except ImportError:
        raise MachineError("checking text for access keys needs detect-secrets: pip install 'luthier[data]'") from None
    return tuple(getattr(module, name)() for module, name in found)


def known_secrets(text: str) -> Iterator[Span]:
    """What the plugins of detect-secrets find, line by line around each long token (their patterns are not all bounded)."""
    seen_to = 0
    for token in _TOKEN.finditer(text):
        if token.end() <= seen_to or not _MIXED.search(token.group()):
            continue
        start = max(seen_to, text.rfind("\n", max(0, token.start() - 80), token.start()) + 1, token.start() - 80)
        part = text[start : min(token.end(), start + _LINE)]
        seen_to = token.end()
        for plugin in _plugins():
            for secret in plugin.analyze_string(part):
                at = part.find(secret) if secret else -1
                if at >= 0 and len(secret) >= 16:
                    yield start + at, start + at + len(secret)


def password(text: str) -> bool:
    """True for a word that mixes letters with digits or signs, and is no variable, placeholder or masked value."""
    if _NO_VALUE.match(text) or len(set(text)) < 4:
        return False
    return (
        any(c.isalpha() for c in text)
        and (any(c.isdigit() for c in text) or any(not c.isalnum() for c in text.rstrip(".!?:_-")))
        and "[" not in text
    )


def _passwords(text: str) -> Iterator[Span]:
    for match in _PASSWORD.finditer(text):
        start, end = match.span(1)
        while end > start and text[end - 1] in ".!?:":
            end -= 1
        if end - start >= 6 and password(text[start:end]):
            yield start, end


PRIVATE_KEY_RULES = (Rule("private key", private_keys, digits=False, marks=("-----begin ",)),)
KEY_RULES = (
    Rule("access key", by_pattern(_KEYS, bool), marks=_MARKS),
    Rule("access key", by_pattern(_BEARER, lambda t: any(c.isdigit() for c in t)), marks=("earer ",)),
    Rule("access key", known_secrets),
)
PASSWORD_RULES = (Rule("password", _passwords, digits=False, marks=("=", ":", " is ", " ist ", " est ", " es ")),)
