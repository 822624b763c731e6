//! QR codes as pictures: a PNG for the API, half blocks for a terminal.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcode::{Color, EcLevel, QrCode};

/// Pixels a module: large enough that a phone reads it from a screen without scaling.
const SCALE: usize = 8;
/// Modules of white around the code, which the QR standard asks for.
const QUIET: usize = 4;

/// A QR code, as a square of modules with its quiet zone.
pub struct Picture {
    modules: Vec<bool>,
    width: usize,
}

impl Picture {
    /// Draws `text`.
    ///
    /// # Errors
    /// When `text` is longer than a QR code holds (about 2900 bytes).
    pub fn of(text: &str) -> Result<Self, PictureError> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L)
            .map_err(|error| PictureError::Code(error.into()))?;
        let inner = code.width();
        let width = inner + 2 * QUIET;
        let mut modules = vec![false; width * width];
        for (at, color) in code.to_colors().into_iter().enumerate() {
            let (x, y) = (at % inner + QUIET, at / inner + QUIET);
            modules[y * width + x] = color == Color::Dark;
        }
        Ok(Self { modules, width })
    }

    /// `data:image/png;base64,…`, one bit a pixel.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn to_data_url(&self) -> Result<String, PictureError> {
        Ok(format!(
            "data:image/png;base64,{}",
            STANDARD.encode(self.to_png()?)
        ))
    }

    /// A PNG, one bit a pixel.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        self.encode().map_err(|error| PictureError::Png(error.into()))
    }

    fn encode(&self) -> Result<Vec<u8>, png::EncodingError> {
        let side = self.width * SCALE;
        // A bit is white; a byte is eight pixels of a row, which is one module at this scale.
        const { assert!(SCALE == 8) };
        let mut rows = Vec::with_capacity(self.width * side);
        for row in self.modules.chunks(self.width) {
            let row: Vec<u8> = row.iter().map(|dark| if *dark { 0x00 } else { 0xff }).collect();
            for _ in 0..SCALE {
                rows.extend_from_slice(&row);
            }
        }
        let side = u32::try_from(side).expect("a QR code has at most 177 modules a side");
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        encoder.write_header()?.write_image_data(&rows)?;
        Ok(png)
    }

    /// How many columns and lines [`to_half_blocks`](Self::to_half_blocks) takes.
    #[must_use]
    pub fn size_in_blocks(&self) -> (usize, usize) {
        (self.width, self.width.div_ceil(2))
    }

    /// Two rows of modules a line, dark on light whatever the terminal's colours.
    #[must_use]
    pub fn to_half_blocks(&self) -> String {
        const BLACK_ON_WHITE: &str = "\x1b[30;107m";
        const RESET: &str = "\x1b[0m";
        let mut text = String::new();
        for y in (0..self.width).step_by(2) {
            text.push_str(BLACK_ON_WHITE);
            for x in 0..self.width {
                text.push(match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
                    (false, false) => ' ',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (true, true) => '█',
                });
            }
            text.push_str(RESET);
            text.push('\n');
        }
        text
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.modules.get(y * self.width + x).copied().unwrap_or(false)
    }
}

/// A text that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// It fits no QR code.
    #[error("the text cannot be drawn as a QR code")]
    Code(#[source] Box<dyn Error + Send + Sync>),
    /// The picture could not be encoded.
    #[error("the QR code cannot be encoded as a PNG")]
    Png(#[source] Box<dyn Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    //! A picture is checked by reading it back.

    use super::*;

    #[test]
    fn the_png_has_the_modules_of_the_code() {
        let picture = Picture::of("2@abc,def,ghi,jkl").unwrap();
        let png = picture.to_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut rows = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rows).unwrap();
        assert_eq!(
            (info.width, info.height),
            ((picture.width * SCALE) as u32, (picture.width * SCALE) as u32)
        );
        for y in 0..picture.width {
            for x in 0..picture.width {
                let white = rows[y * SCALE * info.line_size + x] == 0xff;
                assert_eq!(white, !picture.is_dark(x, y), "module {x}, {y}");
            }
        }
    }

    #[test]
    fn the_terminal_shows_every_row_and_the_quiet_zone() {
        let picture = Picture::of("2@abc").unwrap();
        let text = picture.to_half_blocks();
        assert_eq!(text.lines().count(), picture.width.div_ceil(2));
        let first = text.lines().next().unwrap();
        assert!(!first.contains(['▀', '▄', '█']), "the first line is quiet");
    }

    #[test]
    fn a_text_beyond_any_code_is_an_error_and_no_panic() {
        assert!(Picture::of(&"x".repeat(8000)).is_err());
    }
}
