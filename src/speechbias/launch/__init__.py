"""Jobs on a cluster or beside each other on one machine, through submitit: what measures, trains and probes.

A job has a key, the hash of all that fixes its outcome, and a folder of that name, where it leaves its results and
then ``done.json``. So whoever gives the command again, or gives it twice at once, does no job a second time: what is
done is taken, what is claimed by a living process (``claims``) is waited for, what died is started again. Results are
gathered as files, and added to the results file at once, in the order in which the plain command would have.
"""
