"""The models that `synth` asks: in process or behind a server."""
