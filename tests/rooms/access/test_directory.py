"""A directory, against a real slapd: who is let in, what never reaches it, which groups are found, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from roadstead.access.directory import DEEPEST, Directory, No, Reader, escape
from roadstead.access.person import Person
from roadstead.access.source_settings import LdapSettings
from roadstead.errors import SourceFailed
from tests.support.certificates import site_authority
from tests.support.server import free_port
from tests.support.slapd import READER_SECRET, Slapd, Tree, silent_listener

GOOD = "correct horse battery"


@pytest.fixture
def tree(slapd: Slapd) -> Tree:
    return slapd.fresh_tree()


def directory(tree: Tree, **changes: Any) -> Directory:
    return Directory("cluster", tree.settings(**changes), READER_SECRET)


async def person(tree: Tree, name: str, password: str = GOOD, **changes: Any) -> Person:
    found = await directory(tree, **changes).log_in(name, password)
    assert isinstance(found, Person)
    return found


# --- who is let in --------------------------------------------------------------------------------------------------------------------


async def test_a_name_and_its_password_make_a_person(tree: Tree) -> None:
    tree.person("grace", GOOD, mail="grace@example.org")
    found = await person(tree, "grace")
    assert (found.name, found.email, found.real_name) == ("grace", "grace@example.org", "Grace")
    assert (found.groups, found.is_admin) == (frozenset(), None)
    assert len(found.subject) == 36


async def test_a_wrong_password_and_an_unknown_name_are_told_apart(tree: Tree) -> None:
    tree.person("grace", GOOD)
    assert await directory(tree).log_in("grace", "wrong") is No.REFUSED
    assert await directory(tree).log_in("heidi", GOOD) is No.UNKNOWN


@pytest.mark.parametrize("password", ["", "\0", "\0anything", GOOD + "\0", GOOD + "\0more", "x" * 5000], ids=repr)
async def test_a_password_that_a_bind_would_not_carry_whole_is_refused(tree: Tree, password: str) -> None:
    tree.person("grace", GOOD)
    assert await directory(tree).log_in("grace", password) is No.REFUSED


@pytest.mark.parametrize(
    "name",
    ["*", "g*", "gr*ce", "*)(uid=*", "grace)(uid=*", "*)(|(uid=*", "grace\\", "\\67race", "grace\0", "(", ")", "é", "grace)(cn=*))(|(a=b"],
)
async def test_what_is_typed_is_a_name_and_no_filter(tree: Tree, name: str) -> None:
    tree.person("grace", GOOD)
    assert await directory(tree).log_in(name, GOOD) is No.UNKNOWN


async def test_a_name_of_special_characters_is_found_as_it_is(tree: Tree) -> None:
    dn = tree.person("ada", GOOD, description="a*(b)\\c")
    assert dn
    found = await person(tree, "a*(b)\\c", user_filter="(description={name})")
    assert found.name == "ada"


def test_escaping_leaves_no_special_character() -> None:
    assert escape("*()\\\0é") == "\\2a\\28\\29\\5c\\00é"


async def test_the_case_of_a_name_makes_no_other_person(tree: Tree) -> None:
    tree.person("Grace", GOOD)
    assert {await person(tree, name) for name in ("grace", "GRACE", "Grace")} == {await person(tree, "grace")}
    assert (await person(tree, "GRACE")).name == "grace"


async def test_the_subject_stays_when_the_name_changes(tree: Tree) -> None:
    dn = tree.person("grace", GOOD)
    before = await person(tree, "grace")
    tree.rename(dn, "hopper")
    after = await person(tree, "hopper")
    assert (after.subject, after.name) == (before.subject, "hopper")


async def test_a_name_that_two_entries_have_is_nobodys(tree: Tree) -> None:
    tree.person("grace", GOOD, description="same")
    tree.person("heidi", GOOD, description="same")
    assert await directory(tree, user_filter="(description={name})").log_in("same", GOOD) is No.UNKNOWN


async def test_without_a_subject_attribute_the_dn_is_the_subject(tree: Tree) -> None:
    dn = tree.person("grace", GOOD)
    found = await person(tree, "Grace", subject_attribute="")
    assert found.subject == dn.lower()
    async with directory(tree, subject_attribute="").reading() as reader:
        assert await reader.by_subject(found.subject) == found


async def test_an_attribute_that_is_missing_is_named(tree: Tree) -> None:
    tree.person("grace", GOOD)
    with pytest.raises(SourceFailed, match="objectGUID"):
        await directory(tree, subject_attribute="objectGUID").log_in("grace", GOOD)


# --- groups ---------------------------------------------------------------------------------------------------------------------------


async def test_groups_in_groups_are_found_and_circles_end(tree: Tree) -> None:
    grace = tree.person("grace", GOOD)
    heidi = tree.person("heidi", GOOD)
    climate = tree.group("climate", grace, heidi)
    science = tree.group("science", climate)
    everybody = tree.group("everybody", science)
    tree.put_in(climate, everybody)
    tree.group("others", heidi)
    assert (await person(tree, "grace")).groups == {climate, science, everybody}
    assert (await person(tree, "grace", nesting="none")).groups == {climate}
    assert (await person(tree, "grace", group_base_dn="")).groups == frozenset()
    assert (await person(tree, "grace", group_filter="(cn=s*)")).groups == frozenset()
    assert (await person(tree, "grace", group_filter="(|(cn=climate)(cn=science))")).groups == {climate, science}


async def test_nesting_is_walked_so_deep_and_no_deeper(tree: Tree) -> None:
    chain = [tree.person("grace", GOOD)]
    for level in range(DEEPEST + 2):
        chain.append(tree.group(f"level{level}", chain[-1]))
    assert (await person(tree, "grace")).groups == set(chain[1 : DEEPEST + 1])


async def test_many_groups_are_walked_in_several_searches(tree: Tree) -> None:
    grace = tree.person("grace", GOOD)
    many = [tree.group(f"many{number}", grace) for number in range(60)]
    above = [tree.group("first", many[0]), tree.group("last", many[-1])]
    assert (await person(tree, "grace")).groups == {*many, *above}


async def test_groups_may_list_login_names(tree: Tree) -> None:
    tree.person("grace", GOOD)
    listing = tree.group("listing")
    tree.group("other")
    tree._server.modify(f"dn: {listing}\nchangetype: modify\nadd: description\ndescription: grace\n")
    found = await person(tree, "grace", group_member_attribute="description", group_member_is="name", nesting="none")
    assert found.groups == {listing}


async def test_a_group_of_administrators_decides_in_any_spelling(tree: Tree) -> None:
    grace = tree.person("grace", GOOD)
    tree.person("heidi", GOOD)
    admins = tree.group("admins", tree.group("operators", grace))
    spelled = admins.upper().replace(",", " , ")
    assert (await person(tree, "grace", admin_group=spelled)).is_admin is True
    assert (await person(tree, "heidi", admin_group=spelled)).is_admin is False


async def test_active_directory_is_asked_for_the_chain_itself() -> None:
    """slapd does not know this rule: what is sent is what can be seen."""
    sent = []

    class Connection:
        async def search(self, _base: str, _scope: int, wanted: str, *_rest: object) -> list[object]:
            sent.append(wanted)
            return []

    settings = LdapSettings(url="ldaps://x", base_dn="dc=x", group_base_dn="dc=x", nesting="chain", group_filter="(objectClass=group)")
    library: Any = SimpleNamespace(bonsai=lambda: SimpleNamespace(LDAPError=ValueError, LDAPEntry=object))
    await Reader(library, settings, Connection()).groups_of("cn=Grace (A),dc=x", "grace")
    assert sent == ["(&(objectClass=group)(|(member:1.2.840.113556.1.4.1941:=cn=Grace \\28A\\29,dc=x)))"]


# --- asking again ---------------------------------------------------------------------------------------------------------------------


async def test_a_person_is_found_again_by_the_subject(tree: Tree) -> None:
    dn = tree.person("grace", GOOD)
    before = await person(tree, "grace")
    async with directory(tree).reading() as reader:
        assert await reader.by_subject(before.subject) == before
        tree.rename(dn, "hopper")
        assert await reader.by_subject(before.subject) == msgspec.structs.replace(before, name="hopper")
        tree.remove(f"uid=hopper,ou=people,{tree.base}")
        assert await reader.by_subject(before.subject) is None
        tree.person("grace", GOOD)
        assert await reader.by_subject(before.subject) is None, "the same name is somebody else now"


async def test_who_may_not_log_in_any_more_is_not_found_again(tree: Tree) -> None:
    tree.person("grace", GOOD, description="staff")
    before = await person(tree, "grace")
    async with directory(tree, user_filter="(&(description=guest)(uid={name}))").reading() as reader:
        assert await reader.by_subject(before.subject) is None


# --- failures -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def silence() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with closing(silent_listener()) as listener:
        yield listener.getsockname()[1]


async def says(tree: Tree, **changes: Any) -> str:
    """What a login says that fails, which `check` says too."""
    with pytest.raises(SourceFailed) as raised:
        await directory(tree, **changes).log_in("grace", GOOD)
    last = (await directory(tree, **changes).check())[-1]
    assert (last.passed, last.said) == (False, raised.value.message)
    return f"{last.what}: {last.said}"


async def test_a_directory_that_is_down_is_said_to_be(tree: Tree) -> None:
    said = await says(tree, url=f"ldap://127.0.0.1:{free_port()}")
    assert said.startswith("connection: The login source 'cluster' cannot be reached")


@pytest.mark.parametrize(
    "way", [{"start_tls": True}, {"start_tls": False, "plain": True}, {"scheme": "ldaps", "start_tls": False}], ids=str
)
async def test_a_directory_that_hangs_is_waited_for_no_longer_than_set(tree: Tree, silence: int, way: dict[str, Any]) -> None:
    way = dict(way)
    url = f"{way.pop('scheme', 'ldap')}://127.0.0.1:{silence}"
    with pytest.raises(SourceFailed, match=r"within 0\.3 seconds|cannot be reached"):
        await directory(tree, url=url, timeout_seconds=0.3, **way).log_in("grace", GOOD)


async def test_start_tls_and_tls_by_a_private_authority(tree: Tree, slapd: Slapd) -> None:
    tree.person("grace", GOOD)
    assert (await person(tree, "grace")).name == "grace"
    assert (await person(tree, "grace", url=slapd.secure_url, start_tls=False)).name == "grace"
    assert (await person(tree, "grace", start_tls=False, plain=True)).name == "grace"


@pytest.mark.parametrize("start_tls", [True, False])
async def test_an_unknown_authority_is_refused_unless_that_is_meant(tree: Tree, slapd: Slapd, tmp_path: Path, start_tls: bool) -> None:
    tree.person("grace", GOOD)
    url = slapd.url if start_tls else slapd.secure_url
    foreign = site_authority(tmp_path).pem.decode()
    for ca in (foreign, ""):
        said = await says(tree, url=url, start_tls=start_tls, ca=ca)
        assert "certificate that is not trusted" in said
    assert (await person(tree, "grace", url=url, start_tls=start_tls, ca=foreign, verify=False)).name == "grace"


async def test_a_certificate_for_another_name_is_refused(tree: Tree, slapd: Slapd) -> None:
    assert "not trusted" in await says(tree, url=slapd.url.replace("127.0.0.1", "localhost"))


async def test_a_service_account_that_is_refused_is_named(tree: Tree) -> None:
    broken = Directory("cluster", tree.settings(), "wrong")
    with pytest.raises(SourceFailed, match="does not let its service account in"):
        await broken.log_in("grace", GOOD)
    assert [(step.what, step.passed) for step in await broken.check()] == [("connection", True), ("bind", False)]


async def test_a_base_that_is_not_there_is_named(tree: Tree) -> None:
    steps = await directory(tree, base_dn=f"ou=nobody,{tree.base}").check()
    assert (steps[-1].what, steps[-1].passed) == ("base", False)
    assert "has no entry ou=nobody" in steps[-1].said
    steps = await directory(tree, group_base_dn=f"ou=none,{tree.base}").check()
    assert (steps[-1].what, steps[-1].passed) == ("groups", False)


async def test_a_filter_that_is_none_is_shown(tree: Tree) -> None:
    said = await says(tree, user_filter="(&(uid={name})(=))")
    assert said.startswith("filter: ")
    assert "(=)" in said


async def test_an_anonymous_search_where_that_is_forbidden_shows_no_base(tree: Tree) -> None:
    anonymous = Directory("cluster", tree.settings(bind_dn=""), "")
    assert [(step.what, step.passed) for step in await anonymous.check()] == [("connection", True), ("bind", True), ("base", False)]


async def test_a_directory_that_is_well_passes_every_step(tree: Tree) -> None:
    steps = await directory(tree).check()
    assert [step.what for step in steps] == ["connection", "bind", "base", "filter", "groups"]
    assert all(step.passed for step in steps)
    assert "its certificate is trusted" in steps[0].said


async def test_without_the_library_it_says_how_to_get_it(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bonsai", None)
    assert "roadstead[ldap]" in await says(tree)
