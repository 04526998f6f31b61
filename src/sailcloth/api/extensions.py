"""WasmPlugin and TrafficExtension (extensions.istio.io): users' own code in proxies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from .attachment import ConstraintOneAttachment, PolicyTargetReference
from .meta import Constraint, D, Object, Selector, Struct

Phase = Literal["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"]
_ANY = {"x-kubernetes-preserve-unknown-fields": True}


class EnvVar(Struct):
    """A variable of the plugin's environment."""

    name: Annotated[str, D("Its name."), Constraint(required=True, minLength=1, maxLength=256)] = ""
    value_from: Annotated[Literal["INLINE", "HOST"] | None, D("INLINE (default) or the proxy's environment.")] = None
    value: Annotated[str | None, D("Its value (INLINE only)."), Constraint(maxLength=2048)] = None


class VmConfig(Struct):
    """The plugin's virtual machine."""

    env: Annotated[
        tuple[
            Annotated[
                EnvVar,
                Constraint(
                    (
                        "(has(self.valueFrom) ? self.valueFrom : '') != 'HOST' || !has(self.value)",
                        "value may only be set when valueFrom is INLINE",
                    )
                ),
            ],
            ...,
        ],
        D("Environment."),
        Constraint(**{"maxItems": 256, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = ()


class MatchPort(Struct):
    """A port."""

    number: Annotated[int, D("Port number."), Constraint(minimum=1, maximum=65535)]


class TrafficSelector(Struct):
    """Traffic that the code sees."""

    mode: Annotated[Literal["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"] | None, D("Direction.")] = None
    ports: Annotated[
        tuple[MatchPort, ...],
        D("Ports; default all."),
        Constraint(**{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]}),
    ] = ()


class WasmConfig(Struct):
    """A WebAssembly module."""

    url: Annotated[
        str,
        D("Where it is: oci (default), http, https or file."),
        Constraint(
            (
                "isURL(self) ? (url(self).getScheme() in ['', 'http', 'https', 'oci', 'file']) : (isURL('http://' + self) && url('http://' + self).getScheme() in ['', 'http', 'https', 'oci', 'file'])",
                "url must have schema one of [http, https, file, oci]",
            ),
            required=True,
            minLength=1,
        ),
    ] = ""
    sha256: Annotated[str | None, D("Its checksum."), Constraint(pattern="(^$|^[a-f0-9]{64}$)")] = None
    image_pull_policy: Annotated[
        Literal["UNSPECIFIED_POLICY", "IfNotPresent", "Always"] | None, D("When an image is fetched.")
    ] = None
    image_pull_secret: Annotated[
        str | None, D("Secret with credentials for the registry."), Constraint(minLength=1, maxLength=253)
    ] = None
    verification_key: Annotated[str | None, D("Key that verifies the image.")] = None
    plugin_config: Annotated[dict[str, Any], D("Configuration of the plugin.", extra_json_schema=_ANY)] = {}
    plugin_name: Annotated[
        str | None, D("Name of the plugin in the module."), Constraint(minLength=1, maxLength=256)
    ] = None
    fail_strategy: Annotated[
        Literal["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"] | None, D("What happens if the plugin fails.")
    ] = None
    vm_config: Annotated[VmConfig | None, D("Its virtual machine.")] = None
    type: Annotated[Literal["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"] | None, D("Kind of filter.")] = None


class LuaConfig(Struct):
    """A Lua script."""

    inline_code: Annotated[
        str, D("The script, at most 64 KB."), Constraint(required=True, minLength=1, maxLength=65536)
    ] = ""


class WasmPluginSpec(WasmConfig):
    """A WebAssembly module, and where it runs."""

    selector: Annotated[Selector | None, D("Workloads it applies to; default the whole namespace.")] = None
    target_ref: Annotated[PolicyTargetReference | None, D("Object it applies to (older form).")] = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], D("Objects it applies to, at most 16."), Constraint(maxItems=16)
    ] = ()
    phase: Annotated[Phase | None, D("Before what it stands.")] = None
    priority: Annotated[int | None, D("Order within the phase, highest first.")] = None
    match: Annotated[tuple[TrafficSelector, ...], D("Traffic it sees; default all.")] = ()


class WasmPlugin(Object):
    """Runs a WebAssembly module in proxies."""

    spec: Annotated[WasmPluginSpec, ConstraintOneAttachment] = WasmPluginSpec()


class TrafficExtensionSpec(Struct):
    """A module or a script, and where it runs."""

    selector: Annotated[Selector | None, D("Workloads it applies to; default the whole namespace.")] = None
    target_ref: Annotated[PolicyTargetReference | None, D("Object it applies to (older form).")] = None
    target_refs: Annotated[
        tuple[PolicyTargetReference, ...], D("Objects it applies to, at most 16."), Constraint(maxItems=16)
    ] = ()
    phase: Annotated[Phase | None, D("Before what it stands.")] = None
    priority: Annotated[int | None, D("Order within the phase, highest first.")] = None
    match: Annotated[tuple[TrafficSelector, ...], D("Traffic it sees; default all.")] = ()
    wasm: Annotated[WasmConfig | None, D("A WebAssembly module.")] = None
    lua: Annotated[LuaConfig | None, D("A Lua script.")] = None


class TrafficExtension(Object):
    """Runs users' code in proxies."""

    spec: Annotated[TrafficExtensionSpec, ConstraintOneAttachment] = TrafficExtensionSpec()
