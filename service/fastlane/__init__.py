"""The fast lane: requests that come as a whole are answered without a task and by one write.

It is a subclass of uvicorn's protocol that relies on private parts of it (`server.TESTED`). Without this folder the
service gives the same answers, at half to two thirds of the rate.
"""
