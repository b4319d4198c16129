"""Block graphs of torch modules, written down while they run on the meta device."""

from supernets.tracing.trace import trace_block, trace_segments

__all__ = ["trace_block", "trace_segments"]
