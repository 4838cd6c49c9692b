"""Prints the ids in a table in a bucket, then appends a copy of its first row with the id `python`.

append.py delta|parquet TABLE ENDPOINT KEY SECRET
"""

import json
import sys
from datetime import datetime, timedelta, timezone

import polars as pl

kind, table, endpoint, key, secret = sys.argv[1:]
options = {
    "AWS_ENDPOINT_URL": endpoint,
    "AWS_ALLOW_HTTP": "true",
    "AWS_ACCESS_KEY_ID": key,
    "AWS_SECRET_ACCESS_KEY": secret,
    "AWS_REGION": "us-east-1",
}
if kind == "delta":
    rows = pl.read_delta(table, storage_options=options)
else:
    rows = pl.read_parquet(f"{table}/*.parquet", storage_options=options)
print(json.dumps(sorted(rows["video_id"].to_list())))
later = datetime.now(timezone.utc) + timedelta(milliseconds=1)
more = rows.head(1).with_columns(
    pl.lit("python").alias("video_id"), pl.lit(later).cast(rows.schema["metaxy_updated_at"]).alias("metaxy_updated_at")
)
if kind == "delta":
    more.write_delta(table, mode="append", storage_options=options)
else:
    more.write_parquet(f"{table}/from-python.parquet", storage_options=options)
