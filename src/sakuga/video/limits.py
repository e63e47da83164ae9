"""What is opened at all: the kinds of files that FFmpeg may take one for, and how large and long a clip may be."""

from __future__ import annotations

from pathlib import Path

from sakuga.errors import ClipError

# Files that hold what they show. No lists that lead to other files (hls, dash, concat), no texts that FFmpeg would draw
# (tty), no devices.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,ogg,asf,gif,apng,nut,"
    "mxf,dv,rm,wtv,vc1,h263,yuv4mpegpipe,mjpeg,wav,mp3,flac,aac,ac3,image2,flic,swf,nsv,pva,gxf,lxf,amv,ivr,bmp_pipe,"
    "tiff_pipe,jpeg_pipe,jpegxl_pipe,j2k_pipe,exr_pipe,dpx_pipe,ppm_pipe,pgm_pipe,pam_pipe,qoi_pipe,psd_pipe,sgi_pipe,"
    "sunrast_pipe,png_pipe,webp_pipe,gif_pipe,hdr_pipe,dds_pipe,pcx_pipe"
)
LARGEST_SIDE, MOST_FRAMES = 16_384, 10_000_000


def check_limits(path: Path, width: int, height: int, frames: int) -> None:
    """Raise ``ClipError`` for what is too large or too long to be anything that people mean."""
    if max(width, height) > LARGEST_SIDE or frames > MOST_FRAMES:
        raise ClipError(
            f"{path.name} is too large",
            given=f"{frames:,} frames of {width} x {height}",
            expected=f"at most {MOST_FRAMES:,} frames, and {LARGEST_SIDE} pixels a side",
            do="cut it into parts, or make it smaller with another tool",
        )
