"""`parallax verify --bundle`: the first node that fails as a reproduction bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from conformance.bundles.failing import FailingNode, Place
from conformance.bundles.replay import NotReproduced, keep
from conformance.bundles.single import bundle_of_node
from conformance.devices import precision_of
from conformance.report import VerifyReport
from conformance.visible import visible
from engine.runtime import Runtime
from parallax.output import complain


def bundle_of(
    report: VerifyReport, node: FailingNode | None, device: str, args: argparse.Namespace
) -> str | None:
    """Write the first node that failed; the path, or None where that is said not to be possible."""
    if node is None:
        instead = f"parallax reduce {report.model} keeps what fails of a whole model"
        complain(f"no bundle: it is no node that failed; {instead}", [report.model])
        return None
    failed = next(p for p in report.precisions if p.failure is not None)
    try:
        with Runtime() as runtime:
            place = Place(runtime, device, precision_of(failed.requested))
            keep(bundle_of_node(node, place, report.model, args.seed), Path(args.bundle))
    except NotReproduced as error:
        complain(error, [report.model])
        return None
    if not args.json:
        where = visible(args.bundle)
        print(f"wrote {where}; parallax replay {where} tries it again")
    return str(args.bundle)
