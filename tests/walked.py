"""Files to walk over, and what the listings say of them."""


def write(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def paths(listings):
    return sorted(c.path for listing in listings for c in listing.candidates)


def refusals(listings):
    return sorted((r.candidate.name, r.kind, r.reason) for listing in listings for r in listing.ignored)


def known_to_the_ledger(*files):
    """Words as the ledger has them, of files as they are now."""
    facts = {}
    for file in files:
        seen = file.lstat()
        version = (file.name, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        facts.setdefault(str(file.parent), {})[version] = ("stored", None)
    return lambda folder, _names: facts.get(folder, {})
