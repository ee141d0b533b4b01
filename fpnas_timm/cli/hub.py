"""`fpnas hub`: push, pull, verify and list.

The functions of `fpnas_timm.hub` are imported when they are called, so that `--help` does not import torch.
"""
import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from .. import hub, zoo
from ..arch.sizes import hw
from ..runs.parser import Parser
from ..weights.manifest import ENVIRONMENT
from . import ended_by_sigterm, exit_status

if TYPE_CHECKING:
    from ..hub.verify import Verified

__all__ = ['main']


def _push(args: argparse.Namespace) -> None:
    """Upload a model, or only prepare its files; print the manifest entry."""
    entry, stage = hub.push(
        args.run_or_dir, args.repo_id, args.private, args.dry_run, args.output, args.model, args.origin, args.license
    )
    if args.dry_run and stage is not None:
        print(f'{args.repo_id}: nothing sent; files that would be uploaded:', file=sys.stderr)
        for file in sorted(stage.iterdir()):
            print(f'  {file}  {file.stat().st_size:,} bytes', file=sys.stderr)
    else:
        print(f'{entry.source}: published', file=sys.stderr)
    print(json.dumps(entry.to_dict(), indent=2))


def _pull(args: argparse.Namespace) -> None:
    """Download a model, verify it, and print how to load it."""
    folder, report = hub.pull(args.source, args.output, args.force)
    _print_report(report, args.json)
    if not args.json:
        print(f"use            timm.create_model('local-dir:{folder}', pretrained=True)")


def _verify(args: argparse.Namespace) -> None:
    """Verify a model and print its properties."""
    _print_report(hub.verify(args.source, args.sha256), args.json)


def _print_report(report: 'Verified', as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(report), indent=2))
        return
    print(f'architecture   {report.arch}')
    print(f'multiply-adds  {report.macs:,} at {" x ".join(map(str, hw(report.img_size)))}')
    print(f'parameters     {report.params:,}, {report.num_classes} classes')
    print(f'sha256         {report.sha256}{" (as in the manifest)" if report.hash_known else ""}')
    print('forward pass   finite logits')


def _list(args: argparse.Namespace) -> None:
    """List the published weights and those of the user's manifest."""
    entries = zoo.known_weights()
    if args.json:
        print(json.dumps({'weights': [w.to_dict() for w in entries]}, indent=2))
        return
    if not entries:
        print(f'No weights are published. To add your own manifest, set {ENVIRONMENT}=FILE (docs/hub.md).')
    for entry in entries:
        metrics = ', '.join(f'{k} {v:g}' for k, v in entry.metrics.items())
        print(f'{entry.model:<24} {entry.source}  {entry.license}  {metrics}')


def build_parser() -> Parser:
    """The parser of `fpnas hub`; each subcommand sets `run` to its function."""
    parser = Parser(
        prog='fpnas hub',
        description="Upload models to the Hugging Face Hub and download them, in timm's format. For a token, use "
        '`hf auth login` or HF_TOKEN.',
        epilog='examples: fpnas hub push runs/digits me/digits --dry-run | fpnas hub pull me/digits -o model | '
        'fpnas hub verify model | fpnas hub list --json',
    )
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='push|pull|verify|list')
    p = verbs.add_parser('push', help='upload a model and print its manifest entry')
    p.add_argument('run_or_dir', metavar='RUN_OR_DIR', help='training run, search or local-dir: folder')
    p.add_argument('repo_id', metavar='ORG/NAME')
    p.add_argument('--private', action='store_true', help='create a private repository')
    p.add_argument('--dry-run', action='store_true', help='prepare the files without uploading them')
    p.add_argument('-o', '--output', metavar='DIR', help='keep the prepared files in this folder')
    p.add_argument('--model', metavar='NAME.TAG', help='name in the manifest entry')
    p.add_argument('--origin', metavar='TEXT', help='where the architecture comes from: a sentence for the model card')
    p.add_argument('--license', metavar='ID', help="license of the weights (default: the config's)")
    p.set_defaults(run=_push)
    p = verbs.add_parser('pull', help='download a model and verify it')
    p.add_argument('source', metavar='ORG/NAME[@REVISION] or NAME.TAG')
    p.add_argument('-o', '--output', metavar='DIR', help='copy the model to this folder (default: only the cache)')
    p.add_argument('--force', action='store_true', help='download it even if it is in the cache')
    _add_json(p)
    p.set_defaults(run=_pull)
    p = verbs.add_parser('verify', help='check hash, string, budgets and a forward pass')
    p.add_argument('source', metavar='DIR, ORG/NAME[@REVISION] or NAME.TAG')
    p.add_argument('--sha256', metavar='HASH', help='expected SHA-256 of model.safetensors')
    _add_json(p)
    p.set_defaults(run=_verify)
    p = verbs.add_parser('list', help='list published weights and those of your own manifest')
    _add_json(p)
    p.set_defaults(run=_list)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', action='store_true', help='print JSON')


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 2 for an invalid argument, 1 if the Hub fails or a file is invalid, 143 after SIGTERM."""

    def run() -> None:
        args = build_parser().parse_args(argv)
        ended_by_sigterm(lambda: args.run(args))

    return exit_status(run)
