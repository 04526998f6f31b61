"""Laws of patches and of server-side apply, over generated objects with the real Pod and ConfigMap schemas."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.local.apiserver.registry import builtin_schemas
from sailcloth.local.apiserver.writes import patches
from sailcloth.local.apiserver.writes.managed_fields import ApplyConflict, FieldManager

Object = dict[str, Any]
POD = {"$ref": "#/$defs/io.k8s.api.core.v1.Pod"}
MAP = {"$ref": "#/$defs/io.k8s.api.core.v1.ConfigMap"}
words = st.sampled_from(["a", "b", "c", "d"])
scalars = st.one_of(words, st.integers(0, 3), st.booleans())
json_values = st.recursive(
    scalars, lambda v: st.dictionaries(words, v, max_size=3) | st.lists(v, max_size=2), max_leaves=8
)
json_objects = st.dictionaries(words, json_values, max_size=4)
quick = settings(max_examples=80, deadline=None)


def pod(containers: dict[str, Object]) -> Object:
    return {"spec": {"containers": [{"name": n, **c} for n, c in containers.items()]}}


container = st.fixed_dictionaries(
    {"image": words}, optional={"env": st.dictionaries(words, words, max_size=3).map(lambda d: [{"name": k, "value": v} for k, v in d.items()])}
)  # fmt: skip
pods = st.dictionaries(words, container, min_size=1, max_size=3).map(pod)
maps = st.dictionaries(words, words, max_size=3)


def config(data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}


def difference(old: Any, new: Any) -> Any:
    """The merge patch that leads from one object to the other."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    out = {k: None for k in old if k not in new}
    return out | {k: difference(old.get(k), v) for k, v in new.items() if k not in old or old[k] != v}


@quick
@given(json_objects, json_objects)
def test_a_merge_patch_leads_from_any_object_to_any_other(old: Object, new: Object) -> None:
    before = copy.deepcopy(old)
    patch = difference(old, new)
    assert patches.merge_patch(old, patch) == new
    assert old == before, "the target is not touched"
    assert patches.merge_patch(new, patch) == new, "again it changes nothing"


@quick
@given(pods, pods)
def test_a_strategic_patch_merges_containers_by_name(old: Object, new: Object) -> None:
    before = copy.deepcopy(old)
    made = patches.strategic_merge_patch(builtin_schemas(), POD, old, new)
    assert old == before
    assert patches.strategic_merge_patch(builtin_schemas(), POD, made, new) == made, "again it changes nothing"
    have = {c["name"]: c for c in made["spec"]["containers"]}
    assert have.keys() == {c["name"] for c in [*old["spec"]["containers"], *new["spec"]["containers"]]}
    for wanted in new["spec"]["containers"]:
        found = have[wanted["name"]]
        assert found["image"] == wanted["image"]
        variables = {e["name"]: e["value"] for e in found.get("env") or ()}
        assert {e["name"]: e["value"] for e in wanted.get("env") or ()}.items() <= variables.items()


def test_directives_of_strategic_patches() -> None:
    old = pod({"a": {"image": "1"}, "b": {"image": "2"}})

    def patched(spec: Object) -> list[Object]:
        return list(patches.strategic_merge_patch(builtin_schemas(), POD, old, {"spec": spec})["spec"]["containers"])

    assert patched({"containers": [{"name": "a", "$patch": "delete"}]}) == [{"name": "b", "image": "2"}]
    assert patched({"containers": [{"name": "c"}, {"$patch": "replace"}]}) == [{"name": "c"}]
    order = patched(
        {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "9"}]}
    )
    assert order == [{"name": "b", "image": "2"}, {"name": "a", "image": "9"}]
    meta = {"metadata": {"finalizers": ["x", "y"]}}
    without = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}
    assert patches.strategic_merge_patch(builtin_schemas(), POD, meta, without) == {"metadata": {"finalizers": ["y"]}}


@pytest.mark.parametrize("patch", [{}, "x", [3], [{"op": "nope"}], [{"op": "remove", "path": "/no"}], [{"path": "/a"}]])
def test_json_patches_that_do_not_fit_are_values_errors(patch: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        patches.json_patch({"a": 1}, patch)


@quick
@given(maps, maps, maps)
def test_what_a_manager_no_longer_applies_goes(
    first: dict[str, str], second: dict[str, str], other: dict[str, str]
) -> None:
    fields = FieldManager(builtin_schemas(), MAP)
    live = fields.apply(None, config(first), "one", False, "t1")
    live = fields.apply(live, config(other), "two", True, "t2")
    live = fields.apply(live, config(second), "one", True, "t3")
    assert (live.get("data") or {}) == {**other, **second}


@quick
@given(maps, maps)
def test_an_apply_is_idempotent_and_conflicts_exactly_on_others_values(
    mine: dict[str, str], theirs: dict[str, str]
) -> None:
    fields = FieldManager(builtin_schemas(), MAP)
    live = fields.apply(None, config(mine), "one", False, "t1")
    assert fields.apply(live, config(mine), "one", False, "t9") == live
    differing = {k for k in mine.keys() & theirs.keys() if mine[k] != theirs[k]}
    if not differing:
        made = fields.apply(live, config(theirs), "two", False, "t2")
        assert (made.get("data") or {}) == {**mine, **theirs}
        return
    with pytest.raises(ApplyConflict) as caught:
        fields.apply(live, config(theirs), "two", False, "t2")
    assert {path[-1][2:] for _, _, path in caught.value.fields} == differing
    assert {who for who, _, _ in caught.value.fields} == {"one"}


@quick
@given(pods, pods)
def test_two_managers_share_a_list_of_containers(first: Object, second: Object) -> None:
    fields = FieldManager(builtin_schemas(), POD)
    live = fields.apply(None, first, "one", False, "t1")
    live = fields.apply(live, second, "two", True, "t2")
    names = {c["name"] for c in live["spec"]["containers"]}
    assert names == {c["name"] for c in [*first["spec"]["containers"], *second["spec"]["containers"]]}
    alone = fields.apply(live, {"spec": {}}, "one", False, "t3")
    kept = {c["name"]: c for c in alone["spec"]["containers"]}
    assert kept.keys() == {c["name"] for c in second["spec"]["containers"]}
    for wanted in second["spec"]["containers"]:
        assert kept[wanted["name"]]["image"] == wanted["image"]


@quick
@given(maps, maps)
def test_an_update_takes_over_what_it_changes(applied: dict[str, str], updated: dict[str, str]) -> None:
    fields = FieldManager(builtin_schemas(), MAP)
    live = fields.apply(None, config(applied), "one", False, "t1")
    new = fields.update(live, {**config(updated), "metadata": {"name": "x"}}, "editor", "t2")
    owners = {m["manager"]: m["fieldsV1"].get("f:data", {}) for m in new["metadata"]["managedFields"]}
    changed = {k for k, v in updated.items() if applied.get(k) != v}
    assert {k[2:] for k in owners.get("editor", {}) if k != "."} >= changed
    assert not {k[2:] for k in owners.get("one", {}) if k != "."} & changed


@quick
@given(pods, pods)
def test_applying_twice_is_applying_once(first: Object, second: Object) -> None:
    fields = FieldManager(builtin_schemas(), POD)
    live = fields.apply(None, first, "one", False, "t1")
    once = fields.apply(live, second, "one", False, "t2")
    assert fields.apply(once, second, "one", False, "t3") == once


@quick
@given(pods, pods, pods)
def test_what_one_manager_leaves_out_stays_if_another_has_it(first: Object, second: Object, later: Object) -> None:
    fields = FieldManager(builtin_schemas(), POD)
    live = fields.apply(None, first, "one", False, "t1")
    live = fields.apply(live, second, "two", True, "t2")
    live = fields.apply(live, later, "one", True, "t3")
    have = {c["name"]: c for c in live["spec"]["containers"]}
    mine, theirs = ({c["name"]: c for c in o["spec"]["containers"]} for o in (later, second))
    assert have.keys() == mine.keys() | theirs.keys()
    for name, found in have.items():
        wanted = [{e["name"] for e in o[name].get("env") or ()} for o in (mine, theirs) if name in o]
        assert {e["name"] for e in found.get("env") or ()} == set().union(*wanted)


@quick
@given(maps, maps)
def test_an_object_from_before_managers_belongs_to_somebody(live: dict[str, str], applied: dict[str, str]) -> None:
    fields = FieldManager(builtin_schemas(), MAP)
    differing = {k for k in live.keys() & applied.keys() if live[k] != applied[k]}
    if not differing:
        made = fields.apply(config(live), config(applied), "one", False, "t1")
        assert (made.get("data") or {}) == {**live, **applied}
        return
    with pytest.raises(ApplyConflict) as caught:
        fields.apply(config(live), config(applied), "one", False, "t1")
    assert {path[-1][2:] for _, _, path in caught.value.fields} == differing
    assert {who for who, _, _ in caught.value.fields} == {"before-first-apply"}


def test_more_directives_of_strategic_patches() -> None:
    deployment = {"$ref": "#/$defs/io.k8s.api.apps.v1.Deployment"}
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    kept = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patches.strategic_merge_patch(builtin_schemas(), deployment, old, kept) == {
        "spec": {"strategy": {"type": "Recreate"}}
    }
    replaced = {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}
    assert patches.strategic_merge_patch(builtin_schemas(), deployment, old, replaced) == {
        "spec": {"strategy": {"type": "Recreate"}}
    }
    emptied = {"spec": {"strategy": {"$patch": "delete"}}}
    assert patches.strategic_merge_patch(builtin_schemas(), deployment, old, emptied) == {"spec": {"strategy": {}}}
    merged = {"spec": {"strategy": {"$patch": "merge", "rollingUpdate": {"maxSurge": 2}}}}
    made = patches.strategic_merge_patch(builtin_schemas(), deployment, old, merged)
    assert made == {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}}}
    with pytest.raises(ValueError, match="does not contain declared merge key: name"):
        patches.strategic_merge_patch(builtin_schemas(), POD, {}, {"spec": {"containers": [{"image": "x"}]}})
    with pytest.raises(ValueError, match="Unknown patch type"):
        patches.strategic_merge_patch(builtin_schemas(), POD, {}, {"spec": {"$patch": "forget"}})


def test_what_only_the_server_has_keeps_its_place_in_a_given_order() -> None:
    old = pod({"a": {"image": "1"}, "x": {"image": "2"}, "b": {"image": "3"}})
    order = [{"name": "b"}, {"name": "a"}, {"name": "c"}]
    patch = {"spec": {"$setElementOrder/containers": order, "containers": [{"name": "c", "image": "4"}]}}
    made = patches.strategic_merge_patch(builtin_schemas(), POD, old, patch)
    assert [c["name"] for c in made["spec"]["containers"]] == ["x", "b", "a", "c"]
    only = {"spec": {"$setElementOrder/containers": [{"name": "x"}, {"name": "a"}, {"name": "b"}]}}
    made = patches.strategic_merge_patch(builtin_schemas(), POD, old, only)
    assert [c["name"] for c in made["spec"]["containers"]] == ["x", "a", "b"]


def test_what_a_manager_no_longer_applies_leaves_no_empty_map() -> None:
    fields = FieldManager(builtin_schemas(), POD)
    live: Object = {"metadata": {"name": "x"}, "spec": {"hostname": "h", "securityContext": {"runAsUser": 1}}}
    fields.update(None, live, "kubectl", "t")
    live["metadata"]["managedFields"][0]["operation"] = "Apply"
    applied = {"metadata": {"name": "x"}, "spec": {"hostname": "h"}}
    assert fields.apply(live, applied, "kubectl", False, "t")["spec"] == {"hostname": "h"}
    fields.update(
        live,
        kept := copy.deepcopy({**live, "spec": {**live["spec"], "securityContext": {"runAsUser": 2}}}),
        "other",
        "t",
    )
    assert fields.apply(kept, applied, "kubectl", False, "t")["spec"]["securityContext"] == {"runAsUser": 2}


def test_a_patch_that_does_not_fit_tells_nothing_of_the_object() -> None:
    for operation in (
        {"op": "add", "path": "/metadata/labels/x", "value": "1"},
        {"op": "copy", "from": "/nope/x", "path": "/data/x"},
        {"op": "remove", "path": "/data/password/x"},
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            patches.json_patch({"metadata": {}, "data": {"password": "hidden"}}, [operation])
        assert "hidden" not in str(caught.value)
        assert "{" not in str(caught.value)


def test_copies_of_copies_end_before_they_fill_the_memory() -> None:
    """Each doubles what there is: forty of them would be a terabyte."""
    doubled = [{"op": "copy", "from": "/data", "path": f"/data/k{n}"} for n in range(40)]
    with pytest.raises(ValueError, match="exceeding the limit"):
        patches.json_patch({"data": {"a": "x" * 1000}}, doubled)
    with pytest.raises(ValueError, match="allowed maximum operations in a JSON patch is 10000, got 10001"):
        patches.json_patch({}, [{"op": "test", "path": "/a", "value": None}] * 10_001)
    copied = [{"op": "copy", "from": "/data/a", "path": "/data/b"}]
    assert patches.json_patch({"data": {"a": [1]}}, copied) == {"data": {"a": [1], "b": [1]}}


def test_a_test_for_null_passes_where_there_is_nothing() -> None:
    patch = [{"op": "test", "path": "/metadata/labels", "value": None}, {"op": "add", "path": "/a", "value": 1}]
    assert patches.json_patch({"metadata": {}}, patch) == {"metadata": {}, "a": 1}
    assert patches.json_patch({"metadata": {"labels": None}}, patch)["a"] == 1
    with pytest.raises(ValueError, match=r"^testing value /metadata/labels failed$"):
        patches.json_patch({"metadata": {"labels": {"secret": "x" * 1000}}}, patch)


OWNED: Object = {
    "type": "object",
    "properties": {
        "map": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {
                "type": "object",
                "properties": {"k": {"type": "string", "default": "a"}, "inner": {"type": "object"}},
            },
        },
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "atoms": {"type": "object", "x-kubernetes-map-type": "atomic"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
keyed_items = st.dictionaries(
    words, st.dictionaries(st.sampled_from(["inner", "x"]), json_values, max_size=2), max_size=3
)
owned_objects = st.fixed_dictionaries(
    {},
    optional={
        "map": keyed_items.map(lambda d: [{**({"k": k} if k != "a" else {}), **v} for k, v in d.items()]),
        "set": st.lists(words, max_size=3, unique=True),
        "atoms": st.dictionaries(words, words, max_size=2),
        "free": json_objects | st.none() | words,
    },
)


@settings(max_examples=400, deadline=None)
@given(owned_objects, owned_objects)
def test_differences_are_those_of_the_field_sets(old: Object, new: Object) -> None:
    fields = FieldManager(builtin_schemas(), OWNED)
    before, after = fields.field_set(old), fields.field_set(new)

    def differs(path: tuple[str, ...]) -> bool:
        if path[-1:] and path[-1].startswith("k:"):
            return False  # an item of a list is owned as such; what it holds is owned by itself
        a, b = (fields.get(o, path) if path else o for o in (old, new))
        return bool(a != b)

    changed = {p for p in after if p not in before or differs(p)}
    assert fields.differences(old, new) == (changed, before - after)


def entry(**fields: Any) -> Object:
    return {"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}


@pytest.mark.parametrize(
    "given",
    [
        [],
        [entry(**{"f:a": 1})],
        [entry(**{"f:a": {"k:{": {}}})],
        [entry(**{"f:a": {"k:[]": {}}})],
        [entry(**{"i:x": {}})],
        [entry(a={})],
        [{**entry(), "operation": "Steal"}],
        [{**entry(), "fieldsType": "FieldsV2"}],
    ],
    ids=str,
)
def test_managed_fields_that_cannot_be_read_are_the_stored_ones(given: list[Object]) -> None:
    fields = FieldManager(builtin_schemas(), MAP)
    live = fields.update(None, config({"a": "1"}), "first", "t1")
    new = {**live, "metadata": {**live["metadata"], "managedFields": given}, "data": {"a": "1", "b": "2"}}
    managers = {m["manager"] for m in fields.update(live, new, "second", "t2")["metadata"]["managedFields"]}
    assert managers == {"first", "second"}
    reset = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert fields.update(live, reset, "second", "t2")["metadata"]["managedFields"] == []
    assert fields.apply(new, config({"b": "2"}), "third", True, "t3")["data"] == {"a": "1", "b": "2"}
