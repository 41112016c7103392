"""Bring every readable row of a damaged journal into a new one, and say exactly what is missing.

The damaged files are only read. The new journal keeps all numbers: a row is the same row in it, under the same number,
with the same hash over the same sealed bytes. What cannot be kept is the chain, which runs through the missing rows: it
is made anew, and the missing numbers become gaps that an act of the audit trail explains (who, when, why, which). So
the new journal is whole in itself, `labrelay verify` has nothing to say about it, and no number is ever given again.

What is believed, and what follows:

- A row is taken if its content is proven: by its hash, or, where only the hash was hit, by the seal of its columns.
- A delivery is taken with its message and its document only, and where its key proves that they belong together. A
  message whose deliveries are lost is processed again: what it makes is sent under the same keys, so a server that has
  it already knows it again, and not where a newer message has had the same results delivered. What a person has
  dismissed or rejected stays so, also where only the audit trail still says it.
- What retention has let go stays gone where a record that is whole vouches for it; a new record says so in the new
  journal. A range that nothing vouches for any more counts as missing.
- Tallies are counted anew. Memories (repeats, earlier values, traces of the line) are taken as far as they can be read:
  a lost one costs a warning less, or a result shown twice under one key, never a result.

found      what was brought over and what is missing, as values and for people
tables     a damaged file read row by row into a new one
leaves     rows on pages that no way leads to any more
proven     the journal's rows: which are believed, which are missing
outgoing   documents and deliveries, and what must be processed again
tallies    numbers and counts that the rows left give
saving     all of it, in its order: `run`
"""
