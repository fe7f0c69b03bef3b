"""A web service that enhances what is posted to it; run it as the README says."""

import io

import soundfile
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fsnp_onnx import Enhancer

enhancer = Enhancer()


async def enhance(request: Request) -> Response:
    """Enhance the posted sound file and answer with a WAV."""
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
