"""A token bucket, as services limit rates."""

from __future__ import annotations


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved up. Times are seconds of one clock.

    An amount above ``burst`` is served by a full bucket, which then owes the rest.

    >>> bucket = TokenBucket(rate=5, burst=5, now=0.0)
    >>> [bucket.take(1, 0.0) for _ in range(6)]
    [True, True, True, True, True, False]
    >>> bucket.take(1, 0.2)
    True
    """

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def has(self, amount: float, now: float) -> bool:
        """Whether ``amount`` would be served now."""
        self._fill(now)
        return self._level >= min(amount, self._burst)

    def spend(self, amount: float, now: float) -> None:
        """Take tokens whether they are there or not; the bucket then owes them."""
        self._fill(now)
        self._level -= amount

    def take(self, amount: float, now: float) -> bool:
        """Take tokens if ``amount`` is served now."""
        if not self.has(amount, now):
            return False
        self._level -= amount
        return True

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self.rate)
            self._at = now
