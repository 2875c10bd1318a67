"""The built-in components, registered in the same way as those of other packages.

Everything is registered lazily: listing components imports neither torch nor the components.
"""

from __future__ import annotations

from cxrkit.hookspecs import Register, Shorthand, hookimpl


@hookimpl
def register_models(register: Register) -> None:
    """Networks."""
    models = "cxrkit_plugins.models"
    register(
        "attn-bcdu", f"{models}.attn_bcdu:AttentionBCDUNet", summary="Attention BCDU-Net (Maga 2021)", default=True
    )
    register("unet", f"{models}.unet:UNet", summary="U-Net (Ronneberger 2015)")
    register("attn-unet", f"{models}.attn_unet:AttentionUNet", summary="Attention U-Net (Oktay 2018)")
    register("bcdu", f"{models}.bcdu:BCDUNet", summary="BCDU-Net: skips joined by ConvLSTMs (Azad 2019)")
    register(
        "unetpp", f"{models}.unetpp:UNetPlusPlus", summary="U-Net++: nested skips, a head at each depth (Zhou 2018)"
    )
    register("fcn", f"{models}.fcn:FCN", summary="FCN-32s, 16s and 8s on VGG-16 (Long 2015)")
    register(
        "scau", f"{models}.scau:SCAUNet", summary="SCAU-Net: spatial and channel attention (Zhao 2020; widths ours)"
    )
    register(
        "scag",
        f"{models}.scag:SpatialChannelGatedUNet",
        summary="U-Net with spatial-channel gates (Khanh 2020; layers ours, after the abstract)",
    )
    register(
        "focal-attn-unet",
        f"{models}.focal_attn_unet:FocalAttentionUNet",
        summary="Attention U-Net with image pyramid and deep supervision (Abraham & Khan 2019)",
    )
    register(
        "scan",
        f"{models}.scan:SCANSegmentor",
        summary="SCAN's segmentor, of 271 thousand weights (Dai 2018; layers ours, with that many)",
    )
    register(
        "cole",
        f"{models}.cole:CoLeCNN",
        summary="CoLe-CNN: structures minus their context (Pezzano 2020; layers ours, after a description)",
    )
    register(
        "monai",
        f"{models}.monai:Monai",
        summary="any MONAI network that makes 2-D masks of a film's size (pip install 'cxrkit[monai]')",
    )
    register("smp", f"{models}.smp:SegmentationModelsPytorch", summary="any segmentation-models-pytorch network")


@hookimpl
def register_losses(register: Register) -> None:
    """Overlap losses and cross-entropy."""
    losses = "cxrkit_plugins.losses"
    register("dice", f"{losses}.overlap:DiceLoss", summary="1 - Dice coefficient")
    register("tversky", f"{losses}.overlap:TverskyLoss", summary="1 - Tversky index: weighs misses and false alarms")
    register(
        "focal-tversky",
        f"{losses}.overlap:FocalTverskyLoss",
        summary="(1 - Tversky index)^(1/γ), the paper's loss (Abraham 2019)",
        default=True,
    )
    register(
        "focal", f"{losses}.library:FocalLoss", summary="cross-entropy that looks at hard pixels (Lin 2017; Kornia)"
    )
    register("lovasz", f"{losses}.library:LovaszLoss", summary="Lovász hinge, for IoU (Berman 2018; smp)")
    register(
        "hausdorff",
        f"{losses}.library:HausdorffLoss",
        summary="errors weighed by their distance from outlines (Karimi 2019; pip install 'cxrkit[monai]')",
    )
    register(
        "mse-adaptive",
        f"{losses}.squared_error:AdaptiveSquaredErrorLoss",
        summary="squared error with adaptive weights, for cole (Pezzano 2020; weights ours)",
    )
    register(
        "critic",
        f"{losses}.critic:CriticLoss",
        summary="a critic that tells drawn from predicted masks, beside another loss (Dai 2018)",
    )
    register("bce", f"{losses}.cross_entropy:BinaryCrossEntropyLoss", summary="binary cross-entropy per channel")


@hookimpl
def register_augments(register: Register) -> None:
    """Mixup, geometric and intensity changes, and faults of films."""
    augments = "cxrkit_plugins.augments"
    register(
        "mixup",
        f"{augments}.mixup:Mixup",
        summary="convex combinations of pairs of films (Zhang 2017)",
        shorthand=Shorthand(
            "delta",
            "Mix pairs of films with λ ~ Beta(δ, δ); the paper's best value for few films is 0.2; 0 switches it off.",
            "DELTA",
        ),
    )
    register("geometric", f"{augments}.geometric:Geometric", summary="affine and elastic deformation")
    register("intensity", f"{augments}.intensity:Intensity", summary="exposure, contrast, blur and noise")
    register(
        "degradation",
        f"{augments}.degradation:Degradation",
        summary="faults of films, before levels and CLAHE: noise, JPEG, labels, borders",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Films on disk, and synthetic ones."""
    datasets = "cxrkit_plugins.datasets"
    register("folder", f"{datasets}.folder:FolderDataset", summary="images/ and masks/<structure>/, or a CSV manifest")
    register("jsrt", f"{datasets}.jsrt:JsrtDataset", summary="JSRT films (.IMG or PNG) with SCR masks")
    register("coco", f"{datasets}.coco:CocoDataset", summary="films with COCO polygons or run lengths")
    register("labelme", f"{datasets}.labelme:LabelMeDataset", summary="films with polygons drawn in LabelMe")
    register("chexmask", f"{datasets}.chexmask:CheXmaskDataset", summary="public films with CheXmask's masks (CSV)")
    register(
        "phantom",
        f"{datasets}.phantom:PhantomDataset",
        summary="synthetic chest radiographs, made on the fly",
        default=True,
    )


@hookimpl
def register_launchers(register: Register) -> None:
    """Where the runs of an ablation are computed."""
    launchers = "cxrkit_plugins.launchers"
    register("local", f"{launchers}.local:LocalLauncher", summary="side by side on this machine", default=True)
    register("ray", f"{launchers}.ray:RayLauncher", summary="on a Ray cluster (pip install 'cxrkit[ray]')")


@hookimpl
def register_loggers(register: Register) -> None:
    """Dashboards; each needs its package."""
    loggers = "cxrkit_plugins.loggers"
    register("tensorboard", f"{loggers}.tensorboard:TensorBoard", summary="curves in TensorBoard")
    register("mlflow", f"{loggers}.mlflow:MLflow", summary="settings and curves in MLflow")


@hookimpl
def register_writers(register: Register) -> None:
    """What is written for a segmented film."""
    writers = "cxrkit_plugins.writers"
    register("masks", f"{writers}.masks:MasksWriter", summary="a PNG mask of each structure", default=True)
    register(
        "overlay",
        f"{writers}.overlay:OverlayWriter",
        summary="the film with its structures drawn on it, as PNG",
        default=True,
    )
    register(
        "probabilities", f"{writers}.masks:ProbabilitiesWriter", summary="16-bit PNG pictures of the probabilities"
    )


@hookimpl
def register_postprocesses(register: Register) -> None:
    """What is done to masks after the threshold."""
    parts = "cxrkit_plugins.postprocesses.parts"
    register(
        "one-piece",
        f"{parts}:OnePiece",
        summary="lungs and heart without stray parts and small holes",
        default=True,
    )
    register("fill-holes", f"{parts}:FillHoles", summary="every structure without holes")
    register("none", f"{parts}:Unchanged", summary="masks as the threshold makes them")


@hookimpl
def register_exporters(register: Register) -> None:
    """Formats in which networks leave cxrkit."""
    exporters = "cxrkit_plugins.exporters"
    register("onnx", f"{exporters}.onnx:OnnxExporter", summary=".onnx, for most runtimes (pip install 'cxrkit[onnx]')")
    register(
        "openvino",
        f"{exporters}.openvino:OpenVinoExporter",
        summary=".xml with .bin, fastest on CPUs (pip install 'cxrkit[openvino]')",
    )
    register("torch", f"{exporters}.torch_export:TorchExporter", summary=".pt2, a torch.export program")


@hookimpl
def register_runtimes(register: Register) -> None:
    """What computes exported networks."""
    runtimes = "cxrkit_plugins.runtimes"
    register("openvino", f"{runtimes}.openvino:OpenVinoRuntime", summary="OpenVINO: .xml and .onnx")
    register("onnxruntime", f"{runtimes}.onnxruntime:OnnxRuntime", summary="ONNX Runtime: .onnx")
    register("torch", f"{runtimes}.torch_export:TorchRuntime", summary="PyTorch: .pt2")


@hookimpl
def register_weights(register: Register) -> None:
    """Trained networks, ready to use."""
    weights = "cxrkit_plugins.weights"
    register("lungs-heart", f"{weights}.lungs_heart:LungsHeart", summary="both lungs and the heart, frontal films")
