"""One journal file: the writer thread, its batches, chain and anchor, keys, lock, schema steps.

Where a commit fails for lack of space, nothing is acknowledged, and all goes on by itself once there is space. The
reserve on the disk is given back then (`reserve`), and the writer takes only operations without a payload: outcomes,
acts. There is no high-water mark below it: it would refuse results that can be kept, to analyzers that keep few and
write over the oldest. Where a *sync* fails, the state of the kernel's pages is unknown: the process stops at once,
without another try, and the service manager starts it again.

One key-encryption key wraps the data keys of each month (`vault`); `key_encryption_key` finds it, also among several.
"""
