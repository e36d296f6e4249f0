"""Layer 5, plans: bluesky's, and those that use predictions. Add yours below."""

import bluesky.plan_stubs as bps
import bluesky.plans as bp

from xas_live.plans import (
    adaptive, anchor_scan, hold_in_band, operando, quick_scan, repeat_until, step_scan, step_when, sweep_done,
)
