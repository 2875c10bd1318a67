"""A page to look at films, measure and correct masks; and what answers it, which programs can ask too.

* `work.py` is what is done with a film, in worker processes that share one network (`pool.py`): a film that crashes or
  hangs a decoder costs that film alone.
* `guard.py` is what every request passes: whose it is, how much it may send, and how long it may take.
* `routes.py` has the addresses, `dataset.py` the folder that corrected masks are saved to.
* `page/` is the page itself, as the browser gets it: plain HTML, CSS and ES modules, without anything from elsewhere.
"""
