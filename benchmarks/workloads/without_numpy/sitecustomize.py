"""On the path of processes whose memory is measured: numpy is installed for the plots only, and
pyarrow would load it in every one of them, ours and the baselines alike."""

import sys

sys.modules["numpy"] = None  # type: ignore[assignment]
