"""Names of a sweep's jobs: read at a glance, safe as folders, and the same whenever the sweep is started."""

import re
from collections.abc import Mapping
from hashlib import sha256

LONGEST = 80


def job_name(values: Mapping[str, str], before: str = "") -> str:
    """``algorithm=maml,dataset.shots=5,seed=0``: keys in order of name, the seed last, and ``before`` in front.

    Where a name would be too long, or hold what a folder's name should not, a digest of the whole ends it.
    """
    keys = sorted(values, key=lambda key: (key == "seed", key))
    whole = ",".join([before] * bool(before) + [f"{key}={values[key]}" for key in keys]) or "job"
    # Lists and quotes are common, and read well without their marks.
    name = re.sub(r"[^\w.=,+-]+", "-", whole).strip("-.")
    if name == whole and len(name) <= LONGEST:
        return name
    digest = sha256(whole.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - len(digest) - 1].rstrip('-.,=')}-{digest}"
