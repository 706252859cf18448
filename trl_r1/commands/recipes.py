"""`trl-r1 recipes`: what recipes there are; `trl-r1 recipes copy FOLDER [NAME ...]` copies them out for editing;
`trl-r1 recipes path NAME`: where one lies."""

from __future__ import annotations

import argparse
import sys

from trl_r1 import recipes


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trl-r1 recipes", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="the default")
    copying = commands.add_parser("copy", help="copy recipes into a folder")
    copying.add_argument("folder")
    copying.add_argument("names", nargs="*", help="which; all without")
    finding = commands.add_parser("path", help="where a recipe lies, for `accelerate launch --config_file`")
    finding.add_argument("name", help="such as accelerate/ddp")
    chosen = parser.parse_args(argv)
    try:
        if chosen.command == "copy":
            for path in recipes.copy(chosen.folder, chosen.names):
                print(path)
        elif chosen.command == "path":
            print(recipes.find(chosen.name))
        else:
            for name in recipes.names():
                print(f"{name:<16} {recipes.headline(name)}")
            print("\nUse one by name (--config mini/zero), or copy it out: trl-r1 recipes copy my_recipes mini/zero")
    except ValueError as error:
        print(f"trl-r1 recipes: {error}", file=sys.stderr)
        return 2
    return 0
