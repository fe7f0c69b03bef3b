"""HTTP and WebSocket service: sound files and live streams in, enhanced ones out (extra [serve]).

What a request passes, in this order::

    server.py      uvicorn, worker processes, the end by a signal
    app.py         routes and the state that they share
    observer.py    request id, log line, count
    guard.py       bearer token, no page of another site
    answers.py     errors as one line of JSON
    enhance.py     POST /v1/enhance: query, upload, enhancement, answer
      formats.py     the Accept header
      upload.py      the body, within its limits
    stream.py      WebSocket /v1/stream: hello, samples both ways, end
      hello.py       the first message
    page.py        the web page, the bundled files, the OpenAPI page
    service.py     models, threads, places in the queue
    metrics.py     what Prometheus reads
    logs.py        log lines
"""
