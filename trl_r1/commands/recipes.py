"""`trl-r1 recipes`: what recipes there are; `trl-r1 recipes copy FOLDER [NAME ...]` copies them out for editing;
`trl-r1 recipes path NAME`: where one lies."""

from __future__ import annotations

import argparse

from trl_r1 import recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="the default")
    copying = commands.add_parser("copy", help="copy recipes into a folder")
    copying.add_argument("folder")
    copying.add_argument("names", nargs="*", help="which; all without")
    finding = commands.add_parser("path", help="where a recipe lies, for `accelerate launch --config_file`")
    finding.add_argument("name", help="such as accelerate/ddp")


def run(args: argparse.Namespace) -> int:
    if args.command == "copy":
        for path in recipes.copy(args.folder, args.names):
            print(path)
    elif args.command == "path":
        print(recipes.find(args.name))
    else:
        for name in recipes.names():
            print(f"{name:<16} {recipes.headline(name)}")
        print("\nUse one by name (--config mini/zero), or copy it out: trl-r1 recipes copy my_recipes mini/zero")
    return 0
