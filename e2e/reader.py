#!/usr/bin/env python3
"""Restores a backup with its whole chain, written from sidecar/FORMAT.md alone.

    reader.py STORE IDENTITY OUTPUT [POINT]

STORE is a folder with the objects, IDENTITY an age identity file, OUTPUT an empty folder, POINT a backup's id (default:
the newest). Wants Python 3 and the programs age and zstd. With the module blake3 it compares the root of the pages; with
the module cryptography it checks signatures. Without them it says that it does not: whom to trust is then for you to say.
"""

import base64
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tarfile

try:
    from blake3 import blake3
except ImportError:
    blake3 = None
try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    Ed25519PublicKey = None

MOST_DELTAS = 59
DATABASES = {"k8s": "state.db", "k3s": "server/db/state.db"}


class Refused(Exception):
    """Something does not fit; nothing of it is restored."""


def check(holds, why):
    if not holds:
        raise Refused(why)


def signature_fits(body, line):
    key, _, signature = line.partition(b" ")
    if not key.startswith(b"ed25519:"):
        return False
    if Ed25519PublicKey is None:
        return True
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key[8:]))
        public.verify(base64.b64decode(signature), body)
    except (InvalidSignature, ValueError):
        return False
    return True


def manifests(store):
    """All that can be read, by digest."""
    found = {}
    for path in sorted(store.glob("v1/*/*/*.json")):
        text = path.read_bytes()
        body, _, rest = text.partition(b"\n")
        try:
            manifest = json.loads(body)
            key = "v1/{kind}/{generation}/{sequence:08}.json".format(**manifest)
            check(manifest["format"] == 1, "a format of later")
            check(path == store / key, "the manifest of another backup")
            check(signature_fits(body, rest.strip()), "its signature does not fit")
        except (Refused, ValueError, KeyError) as why:
            print(f"{path} is passed over: {why}", file=sys.stderr)
            continue
        found[hashlib.sha256(text).hexdigest()] = manifest
    return found


def name(manifest):
    return "{generation}/{sequence:08}".format(**manifest)


def newest(found):
    """The one head: what no other manifest follows."""
    last = {}
    for manifest in found.values():
        known = last.setdefault(manifest["generation"], manifest)
        if known["sequence"] < manifest["sequence"]:
            last[manifest["generation"]] = manifest
    followed = [head for manifest in found.values() for head in manifest.get("supersedes", [])]

    def is_followed(manifest):
        return any(
            head["generation"] == manifest["generation"] and head["sequence"] >= manifest["sequence"]
            for head in followed
        )

    heads = [manifest for manifest in last.values() if not is_followed(manifest)]
    check(len(heads) == 1, f"there are {len(heads)} newest backups: name one of {[name(h) for h in heads]}")
    return heads[0]


def chain(found, point):
    """From the full to the point."""
    links = [point]
    while "parent" in links[0]:
        digest = links[0]["parent"]["digest"]
        check(digest in found, f"{name(links[0])} builds on a backup that is not there")
        parent, child = found[digest], links[0]
        check(child["kind"] != "diff" or parent["kind"] == "full", "a diff that builds on no full")
        check(parent["page_size"] == child["page_size"], "another page size within a chain")
        both = parent.get("unencrypted", False), child.get("unencrypted", False)
        check(both[0] == both[1], "a chain that is encrypted in part")
        links.insert(0, parent)
        check(len(links) <= MOST_DELTAS + 2, "a chain longer than any writer makes")
    check(links[0]["kind"] == "full", "a chain without a full")
    check(all(link["kind"] in ("diff", "delta") for link in links[1:]), "a chain with two fulls")
    return links


def opened(store, manifest, identity):
    """The plaintext of a backup."""
    path = store / manifest["data"]["key"]
    sealed = path.read_bytes()
    check(len(sealed) == manifest["data"]["size"], f"{path} has another size than its manifest says")
    check(hashlib.sha256(sealed).hexdigest() == manifest["data"]["sha256"], f"{path} is not what its manifest names")
    if not manifest.get("unencrypted", False):
        age = subprocess.run(["age", "-d", "-i", identity], input=sealed, stdout=subprocess.PIPE, check=True)
        sealed = age.stdout
    zstd = subprocess.run(["zstd", "-d", "-q", "-M8MB"], input=sealed, stdout=subprocess.PIPE, check=True)
    return zstd.stdout


def compare_root(database, manifest):
    if blake3 is None:
        return
    size, count = manifest["page_size"], manifest["page_count"]
    check(len(database) == size * count, f"{name(manifest)} has another number of pages than its manifest says")
    root = blake3(struct.pack("<II", size, count))
    for number in range(1, count + 1):
        page = database[(number - 1) * size : number * size]
        root.update(blake3(struct.pack("<I", number) + page).digest()[:16])
    check(root.hexdigest() == manifest["root"], f"the pages of {name(manifest)} are not those its manifest names")


def apply(payload, manifest, parent, database):
    """Writes the pages of a diff or delta over its parent's database."""
    size, at = manifest["page_size"], 44
    check(payload[:8] == b"vcbpage1", f"{name(manifest)} holds no pages")
    check(struct.unpack_from("<I", payload, 8)[0] == size, f"{name(manifest)} has another page size")
    check(payload[12:44].hex() == parent["root"], f"{name(manifest)} belongs to another parent")
    total = size * manifest["page_count"]
    del database[total:]
    database.extend(bytes(total - len(database)))
    last = entries = 0
    while (number := struct.unpack_from("<I", payload, at)[0]) != 0:
        check(last < number <= manifest["page_count"], f"{name(manifest)} holds a page that does not belong there")
        page = payload[at + 4 : at + 4 + size]
        check(len(page) == size, f"{name(manifest)} ends too early")
        database[(number - 1) * size : number * size] = page
        at, last, entries = at + 4 + size, number, entries + 1
    trailer = struct.unpack_from("<II", payload, at + 4)
    check(trailer == (entries, manifest["page_count"]) and entries == manifest["changed"], "another number of pages")
    check(payload[at + 12 :].hex() == manifest["root"], f"{name(manifest)} ends in another root")


def restore(store, identity, output, point):
    found = manifests(store)
    if point is None:
        chosen = newest(found)
    else:
        chosen = next((manifest for manifest in found.values() if name(manifest) == point), None)
        check(chosen is not None, f"there is no backup {point}")
    links = chain(found, chosen)
    full = links[0]
    archive = output / "full.tar"
    archive.write_bytes(opened(store, full, identity))
    with tarfile.open(archive) as tar:
        tar.extractall(output, filter="data")
    archive.unlink()
    path = output / DATABASES[full["layout"]]
    database = bytearray(path.read_bytes())
    compare_root(database, full)
    for parent, link in zip(links, links[1:]):
        apply(opened(store, link, identity), link, parent, database)
        compare_root(database, link)
    path.write_bytes(database)
    print(f"restored {name(chosen)} from {len(links)} objects to {path}")
    for module, missing in [("blake3", blake3), ("cryptography", Ed25519PublicKey)]:
        if missing is None:
            print(f"without the module {module}: {'roots' if module == 'blake3' else 'signatures'} were not checked")


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    store, identity, output = (pathlib.Path(argument) for argument in sys.argv[1:4])
    try:
        restore(store, identity, output, sys.argv[4] if len(sys.argv) == 5 else None)
    except (Refused, struct.error, OSError, subprocess.CalledProcessError) as why:
        sys.exit(f"nothing to rely on was restored: {why}")


if __name__ == "__main__":
    main()
