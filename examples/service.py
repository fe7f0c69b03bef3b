"""A web service: it enhances the sound file that is posted to it and answers with a WAV.

Start it and try it::

    pip install 'fsnp-onnx[cpu]' starlette uvicorn
    uvicorn --app-dir examples --port 8000 service:app
    curl --data-binary @noisy.wav http://127.0.0.1:8000/enhance -o clean.wav
"""

import io

import soundfile
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fsnp_onnx import Enhancer

enhancer = Enhancer()  # one for all requests: many threads may use it


async def enhance(request: Request) -> Response:
    """Enhance the posted sound file."""
    body = io.BytesIO(await request.body())
    try:
        noisy, sample_rate = soundfile.read(body, dtype="float32")
        enhanced = await run_in_threadpool(enhancer.enhance, noisy, sample_rate)
    except (soundfile.LibsndfileError, ValueError) as error:
        return PlainTextResponse(str(error), status_code=400)
    wav = io.BytesIO()
    soundfile.write(wav, enhanced, sample_rate, format="WAV")
    return Response(wav.getvalue(), media_type="audio/wav")


app = Starlette(routes=[Route("/enhance", enhance, methods=["POST"])])
