"""How login sources are set up: one struct for each kind, kept as JSON; the secret beside it is encrypted."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from msgspec import Meta

from roadstead.access.vault import Sealed, Vault
from roadstead.errors import InvalidAccount
from roadstead.metadata.login_sources import SourceRow

Text = Annotated[str, Meta(max_length=2000)]
Needed = Annotated[str, Meta(min_length=1, max_length=2000)]
Certificates = Annotated[str, Meta(max_length=200_000)]
Seconds = Annotated[float, Meta(gt=0, le=60)]


class LdapSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="ldap"):
    """A directory. `{name}` in `user_filter` is what was typed, escaped; `ca` holds PEM certificates (empty: the system's authorities).

    Without `group_base_dn` it has no groups. A group's `group_member_attribute` holds DNs, or with `group_member_is="name"` login names.
    `nesting` says how groups in groups are found: not at all, by walking up, or by the directory itself (Active Directory's rule
    LDAP_MATCHING_RULE_IN_CHAIN). `subject_attribute` never changes for a person (empty: the DN). `plain` lets passwords travel unencrypted.
    """

    url: Needed
    base_dn: Needed
    start_tls: bool = False
    plain: bool = False
    verify: bool = True
    ca: Certificates = ""
    bind_dn: Text = ""
    user_filter: Needed = "(&(objectClass=inetOrgPerson)(uid={name}))"
    name_attribute: Needed = "uid"
    email_attribute: Text = "mail"
    real_name_attribute: Text = "cn"
    subject_attribute: Text = "entryUUID"
    group_base_dn: Text = ""
    group_filter: Needed = "(objectClass=groupOfNames)"
    group_member_attribute: Needed = "member"
    group_member_is: Literal["dn", "name"] = "dn"
    nesting: Literal["none", "walk", "chain"] = "walk"
    admin_group: Text = ""
    onboarding: bool = True
    timeout_seconds: Seconds = 10.0


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="oidc"):
    """An OpenID provider. Claims are looked for in the id token, then (with `userinfo`) in what the provider's userinfo endpoint says.

    A membership in one of its groups ends `membership_hours` after the last login: between logins, nobody tells when it was taken away.
    """

    issuer: Needed
    client_id: Needed
    scopes: tuple[Needed, ...] = ("openid", "profile", "email")
    plain: bool = False
    verify: bool = True
    ca: Certificates = ""
    userinfo: bool = True
    name_claim: Needed = "preferred_username"
    email_claim: Text = "email"
    real_name_claim: Text = "name"
    groups_claim: Text = "groups"
    admin_group: Text = ""
    onboarding: bool = True
    membership_hours: Annotated[float, Meta(gt=0, le=24 * 366)] = 24 * 30
    timeout_seconds: Seconds = 10.0


SourceSettings = LdapSettings | OidcSettings

_SCHEMES: Final = {"ldap": ("ldap", "ldaps"), "oidc": ("http", "https")}


def kind_of(settings: SourceSettings) -> str:
    """The word for it: "ldap" or "oidc"."""
    return "ldap" if isinstance(settings, LdapSettings) else "oidc"


def decode(text: str | bytes) -> SourceSettings:
    """The settings that JSON says. Raises InvalidAccount, with the field that is wrong."""
    try:
        decoded: SourceSettings = msgspec.json.decode(text, type=LdapSettings | OidcSettings)
    except msgspec.DecodeError as error:
        raise InvalidAccount(f"The source's settings are not valid: {error}.") from error
    return decoded


def encode(settings: SourceSettings) -> str:
    """The settings as JSON."""
    return msgspec.json.encode(settings).decode()


def require_sound(settings: SourceSettings) -> None:
    """Raise InvalidAccount for what cannot work, or would let a password be read on the way."""
    decode(encode(settings))  # a struct that was made in the program has not been looked at yet
    kind = kind_of(settings)
    address = settings.url if isinstance(settings, LdapSettings) else settings.issuer
    parts = urlsplit(address)
    if parts.scheme not in _SCHEMES[kind] or not parts.hostname:
        raise InvalidAccount(f"The address of the source is written as in {' or '.join(f'{one}://host' for one in _SCHEMES[kind])}.")
    if not (settings.plain or parts.scheme in ("ldaps", "https") or (isinstance(settings, LdapSettings) and settings.start_tls)):
        raise InvalidAccount(f"Passwords would travel to {address} unencrypted; use TLS, or say that this is meant with 'plain'.")
    if isinstance(settings, LdapSettings):
        _require_sound_ldap(settings, parts.scheme)
    elif "openid" not in settings.scopes:
        raise InvalidAccount("The scopes of an OpenID provider begin with 'openid'.")
    _require_certificates(settings.ca)


def _require_sound_ldap(settings: LdapSettings, scheme: str) -> None:
    if settings.start_tls and scheme == "ldaps":
        raise InvalidAccount("A connection to ldaps:// is encrypted from its beginning; StartTLS is for ldap://.")
    if "{name}" not in settings.user_filter:
        raise InvalidAccount("The user filter says with {name} where the name that was typed is put, as in (uid={name}).")
    for one in (settings.user_filter, settings.group_filter):
        if not (one.startswith("(") and one.endswith(")") and one.count("(") == one.count(")")):
            raise InvalidAccount(f"{one!r} is not an LDAP filter: it begins with '(' and ends with ')'.")
    if settings.nesting != "none" and settings.group_base_dn and settings.group_member_is == "name":
        raise InvalidAccount("Groups that list login names hold no groups: set nesting to 'none'.")


def _require_certificates(pem: str) -> None:
    if pem:
        try:
            x509.load_pem_x509_certificates(pem.encode())
        except ValueError as error:
            raise InvalidAccount("The private authority is given as certificates in PEM form.") from error


def seal(vault: Vault, name: str, secret: str) -> Sealed:
    """Encrypt the secret of the source of that name."""
    return vault.seal(_purpose(name), secret.encode())


def secret_of(vault: Vault, row: SourceRow) -> str:
    """The source's secret, or the empty text. Raises Misconfigured if the key that encrypted it is gone."""
    if row.secret is None or row.encryption_key_id is None:
        return ""
    return vault.open(_purpose(row.name), Sealed(row.encryption_key_id, row.secret)).decode()


def _purpose(name: str) -> str:
    return f"secret of login source {name}"
