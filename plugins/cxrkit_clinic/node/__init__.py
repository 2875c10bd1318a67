"""What receives films from a PACS or a folder, segments them, and sends the results on.

Nothing is lost, and nothing is sent twice in effect, whenever the process or the machine dies:

* A film is acknowledged when it is on the disk and in the database (`spool.py`): written under a temporary name,
  synced, renamed, its folder synced, its row committed. Files without a row were never acknowledged, and are removed.
* A film waits until its results are on the disk in the same way; one that was being segmented still waits.
* Results are sent until the destination has acknowledged all of them. One that was acknowledged just before the end is
  sent again: its UIDs are the same, and an archive keeps one.
* A film is known by its SOP instance UID, its content, the network, its settings and the destinations. One that is sent
  again is acknowledged and left at that; one that failed is tried again.
* A line of the audit log is committed with the outcome, then appended; at the start, lines that are missing are added.

The network is loaded by a process of its own (`worker.py`): a film that crashes or hangs it costs that film alone. Each
destination has a thread of its own (`sending.py`), so that one that is slow or away holds up no other.
"""
