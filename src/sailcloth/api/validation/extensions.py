"""Validates WasmPlugin and TrafficExtension."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from sailcloth.api.extensions import TrafficExtension, TrafficSelector, VmConfig, WasmConfig, WasmPlugin

from . import attachment, codes, ports
from .report import Report

_SHA = re.compile(r"[a-f0-9]{64}\Z")
_SCHEMES = ("", "http", "https", "oci", "file")
_LONGEST_NAME, _LARGEST_SCRIPT, _MOST_VARIABLES = 256, 64 * 1024, 256


def validate_wasm_plugin(report: Report, obj: WasmPlugin) -> None:
    """Report all findings."""
    spec = obj.spec
    attachment.check(report, spec.selector, spec.target_ref, spec.target_refs)
    _wasm(report, "spec", spec)
    _match(report, spec.match)


def validate_traffic_extension(report: Report, obj: TrafficExtension) -> None:
    """Report all findings."""
    spec = obj.spec
    attachment.check(report, spec.selector, spec.target_ref, spec.target_refs)
    if (spec.wasm is None) == (spec.lua is None):
        report.error(codes.REQUIRED, "spec", "exactly one of wasm and lua must be set", "Give one of them.")
    if spec.wasm is not None:
        _wasm(report, "spec.wasm", spec.wasm)
    if spec.lua is not None:
        size = len(spec.lua.inline_code.encode(errors="replace"))
        if not size:
            report.error(codes.REQUIRED, "spec.lua.inlineCode", "the script is empty", "Give the script.")
        elif size > _LARGEST_SCRIPT:
            text = f"the script has {size} bytes, at most 64 KB are allowed"
            report.error(codes.SIZE, "spec.lua.inlineCode", text, "Shorten it.")
    _match(report, spec.match)


def _wasm(report: Report, path: str, wasm: WasmConfig) -> None:
    _url(report, f"{path}.url", wasm.url)
    if wasm.sha256 and not _SHA.match(wasm.sha256):
        text = "the checksum must be 64 characters long and of 0-9 and a-f"
        report.error(codes.NAME, f"{path}.sha256", text, "Write it in lower-case hexadecimal.")
    if wasm.image_pull_secret == "":
        report.error(codes.REQUIRED, f"{path}.imagePullSecret", "the name is empty", "Name the Secret, or remove it.")
    if wasm.plugin_name is not None and len(wasm.plugin_name) >= _LONGEST_NAME:
        text = f"the plugin's name must be shorter than {_LONGEST_NAME} characters"
        report.error(codes.SIZE, f"{path}.pluginName", text, "Shorten it.")
    if wasm.vm_config is not None:
        _environment(report, f"{path}.vmConfig.env", wasm.vm_config)


def _url(report: Report, path: str, url: str) -> None:
    if not url:
        report.error(codes.REQUIRED, path, "the url is missing", "Set the URL of the module.")
        return
    try:
        scheme = urlsplit(url).scheme if "://" in url else ""
    except ValueError:
        report.error(codes.ADDRESS, path, f"{url!r} is not a URL", "Write oci://registry/image:tag.")
        return
    if scheme not in _SCHEMES:
        text = f"scheme {scheme!r} is not supported"
        report.error(codes.CHOICE, path, text, "Use oci, http, https or file.")


def _environment(report: Report, path: str, config: VmConfig) -> None:
    if len(config.env) > _MOST_VARIABLES:
        report.error(codes.SIZE, path, f"at most {_MOST_VARIABLES} variables are allowed", "Remove some.")
    seen: set[str] = set()
    for index, variable in enumerate(config.env):
        at = f"{path}[{index}]"
        if not variable.name:
            report.error(codes.REQUIRED, f"{at}.name", "the variable has no name", "Name it.")
        elif variable.name in seen:
            text = f"variable {variable.name!r} is given twice"
            report.error(codes.DUPLICATE, f"{at}.name", text, "Remove one of them.")
        seen.add(variable.name)
        if variable.value_from == "HOST" and variable.value:
            text = "valueFrom HOST takes the value from the proxy's environment"
            report.error(codes.CONFLICT, f"{at}.value", text, "Remove it, or use valueFrom INLINE.")


def _match(report: Report, match: Sequence[TrafficSelector]) -> None:
    for index, selector in enumerate(match):
        for number, port in enumerate(selector.ports):
            ports.check_number(report, f"spec.match[{index}].ports[{number}].number", port.number)
