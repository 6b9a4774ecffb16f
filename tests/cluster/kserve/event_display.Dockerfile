# See event_display.py.
FROM python:3.11-slim
COPY event_display.py /
ENTRYPOINT ["python", "/event_display.py"]
